"""Numba where neither the package nor the home directory can be written."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import pathlib, sys
from numba.core import caching, config
ensure = caching._CacheLocator.ensure_cache_path
def refuse(self):
    if not config.CACHE_DIR:
        raise PermissionError("read-only")
    ensure(self)
caching._CacheLocator.ensure_cache_path = refuse
sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "plain":
    import made_up
from apmae.clustering.compiled import import_compiled
print(import_compiled("made_up").double(21), pathlib.Path(config.CACHE_DIR).is_dir(), config.CACHE_DIR)
"""


def run(tmp_path, how):
    (tmp_path / "made_up.py").write_text(
        "from numba import njit\n\n\n@njit(cache=True)\ndef double(x):\n    return 2 * x\n"
    )
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), how]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_package_that_numba_cannot_keep_is_imported_all_the_same(tmp_path):
    assert "no locator available" in run(tmp_path, "plain").stderr
    found = run(tmp_path, "ours")
    value, existed, directory = found.stdout.split()
    assert (value, existed) == ("42", "True"), found.stderr
    assert not Path(directory).exists()
