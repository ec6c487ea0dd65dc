"""How well attribution estimates exact effects, by the path it integrates along (docs/effects.md).

`python -m experiments.attribution_paths RUN --task identifiers` reads a study's prompts and prints Markdown.
"""
