"""Write docs/targets.md: measure how far capture is from every family's own attention."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from families import page  # noqa: E402

(ROOT / "docs" / "targets.md").write_text(page())
