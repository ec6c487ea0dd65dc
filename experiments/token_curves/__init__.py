"""What attention is worth, by number of labels: the tables of docs/tokens.md.

`python -m experiments.token_curves RUN...` reads finished stages `tokens`, goes on where it was killed, and
prints Markdown:

1. A classifier of every feature set, model, number of labels and seed, fitted on the training groups' tokens
   and read on the held-out groups' (`cells`).
2. Metrics over all tokens, weighted back to them, and by syntax class; differences from confidence and from
   all that needs no attention, with intervals over groups (`apmae.token_study.measurement`).
3. Tables (`page`), and a picture of them (`figure`).
"""
