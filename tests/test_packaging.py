"""The pinned versions come from the public index."""

import re
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent


def test_every_locked_package_comes_from_the_public_index():
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")
    hosts = {urlsplit(url).netloc for url in re.findall(r'(?:registry|url) = "([^"]+)"', lock)}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}
