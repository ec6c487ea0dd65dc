"""An organism so small that it trains in a second."""

from organisms.sizes import Organism

MINIATURE = Organism(
    "miniature",
    n_layers=2,
    n_heads=4,
    n_key_value_heads=2,
    hidden_size=32,
    intermediate_size=64,
    steps=6,
    batch_rows=2,
)
