"""Write docs/targets.md: measure how far capture is from every family's own attention."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from helpers.families import page  # noqa: E402

if __name__ == "__main__":
    (ROOT / "docs" / "targets.md").write_text(page())
