"""What each choice of the encoding is worth: the tables of docs/encoder-variants.md.

`python -m experiments.encoder_variants` makes them in five steps, and goes on where it was killed:

1. Every variant of `variants.yaml` becomes a study, `runs/encoder-variants/<variant>`: the base study with
   some keys changed (`variants`).
2. Prompts are mined once; each variant trains its encoder; all of them encode the same prompts in
   one pass of the target (`stages`).
3. Correctness is predicted out of fold, folds by group: from every readout by a linear model, and
   from clusters of `cls` and `row` (`prediction`).
4. Held-out patterns are reconstructed, errors in a common space (`apmae.cross_evaluation`).
5. AUROC and accuracy with intervals by bootstrap over groups, the same resamples for every variant,
   so that differences are paired (`comparison`); Markdown (`page`).
"""
