"""Every token is an example: whether the target predicts it, and what the target and its heads show of that.

1. Windows of consecutive tokens are drawn from a corpus (`windows`), and every token gets the syntax class of
   its text (`syntax`).
2. One forward pass over a window predicts each of its tokens. Outcome, confidence and every head's row
   are kept of some of them, drawn by class and outcome with known weights (`sampling`, `stage`).
"""
