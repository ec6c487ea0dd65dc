"""Whether classifiers of tokens hold where they were not fitted: the transfer tables of docs/tokens.md.

`python -m experiments.token_transfer RUN...` reads finished stages `tokens` of one target, goes on where it
was killed, and prints Markdown:

1. Sources (`sources`): the training tokens of every run, and those of the first run without one syntax class.
2. A classifier of every source and feature set, read on the held-out tokens of all runs (`cells`).
3. A row for each source and what it is read on (`page`): the class that was left out, or another run, beside
   the classifier that knew it.
"""
