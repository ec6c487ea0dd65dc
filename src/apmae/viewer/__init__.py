"""One prompt, its outcome, and its heads' attention as pictures.

1. `read_hole`: `FILE:LINE[:COLUMN]` becomes a hole that ends with its line.
2. `hole_prompt`: the hole's prompt, in the format of studies.
3. `view_prompt`: the target's outcome and every head's attention.
4. `write_page`: a page that opens from disk, and PNG files; `summary` is for the terminal.
"""

from apmae.viewer.holes import Hole, read_hole
from apmae.viewer.page import write_page
from apmae.viewer.prompt_view import PromptView, standout_heads, view_prompt
from apmae.viewer.prompts import HolePrompt, hole_prompt
from apmae.viewer.terminal import summary

__all__ = [
    "Hole",
    "HolePrompt",
    "PromptView",
    "hole_prompt",
    "read_hole",
    "standout_heads",
    "summary",
    "view_prompt",
    "write_page",
]
