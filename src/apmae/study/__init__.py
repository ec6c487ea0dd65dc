"""A study: its config, and the directory that holds all that was made of it."""

from apmae.study.directory import Study

__all__ = ["Study"]
