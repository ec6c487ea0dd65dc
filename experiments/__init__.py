"""Experiments around the method: variants of the encoder, and small target models of our own."""
