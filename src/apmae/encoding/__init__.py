"""Encoding: every head's pattern on every prompt becomes a vector, inside the target's forward pass."""
