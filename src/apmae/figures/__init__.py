"""How every figure and page looks: style, wording, labels of tokens."""
