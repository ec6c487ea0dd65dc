"""Small StarCoder2-architecture models that learned to fill in the middle of Java: model organisms.

`python -m organisms.train NAME` trains one, `python -m organisms.export NAME` measures it and writes
its weights, tokenizer and model card into `organisms/NAME/`.
"""
