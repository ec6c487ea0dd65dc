"""Small StarCoder2-architecture models that learned to fill in the middle of Java.

1. `python -m experiments.toy_models.train NAME` trains one.
2. `python -m experiments.toy_models.export NAME` writes its weights and tokenizer into `NAME/` here.
3. `python -m experiments.toy_models.card NAME` measures these for its model card.
"""
