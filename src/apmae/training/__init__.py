"""Training the AP-MAE on patterns captured on the fly (paper section 4)."""

from apmae.training.batches import PatternBatches, capture_tokens, draw_heads
from apmae.training.trainer import Trainer, encoder_config, learning_rate

__all__ = ["PatternBatches", "Trainer", "capture_tokens", "draw_heads", "encoder_config", "learning_rate"]
