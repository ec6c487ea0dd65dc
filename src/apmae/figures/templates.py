"""Templates of pages: every text is escaped, and a name that is not given is an error."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def page_templates(*folders: Path) -> Environment:
    """The templates of these folders."""
    return Environment(
        loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def page_style(sheet: Path) -> str:
    """The style of all pages, and a page's own behind it."""
    common = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    return common + sheet.read_text(encoding="utf-8")


def source_hash(text: str) -> str:
    """A script or style as a page's Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
