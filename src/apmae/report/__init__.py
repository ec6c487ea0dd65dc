"""The report: figures and one self-contained HTML page that opens from disk."""

from apmae.report.terminal import summary

__all__ = ["summary"]
