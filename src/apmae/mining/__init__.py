"""The prompts stage: mining completion prompts from source files."""

from apmae.mining.stage import run, split_of

__all__ = ["run", "split_of"]
