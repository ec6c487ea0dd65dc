"""The appearance of figures and pages: style, wording, labels of tokens."""
