"""The report: figures and one self-contained HTML page that opens from disk."""

from apmae.report.maps import Reconstruction
from apmae.report.page import run

__all__ = ["Reconstruction", "run"]
