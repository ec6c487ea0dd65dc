"""What the AP-MAE's pre-training is worth for predicting correctness, by number of labels.

`python -m experiments.fine_tuning RUN` reads a study whose stage `encode` is done, goes on where it was
killed, and prints Markdown:

1. The patterns of all heads of a prompt go through an AP-MAE, and its encodings through a transformer over
   the heads (`network`). All of it is trained on whether completions are correct (`fitting`).
2. The AP-MAE begins with the study's weights, or with random ones; or it stays as the study trained it.
   Beside it is what needs no encoder: row statistics, attention to copies, the target's confidence (`cells`).
3. Tables of AUROC on held-out packages with differences (`page`).
"""
