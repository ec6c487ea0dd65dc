"""Small StarCoder2-architecture models that learned to fill in the middle of Java: model organisms.

`python -m organisms.train NAME` trains one, `python -m organisms.export NAME` writes its weights and
tokenizer into `organisms/NAME/`, and `python -m organisms.card NAME` measures these for its model card.
"""
