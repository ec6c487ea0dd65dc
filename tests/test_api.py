"""The names that users rely on."""

import subprocess
import sys

import pytest

import apmae


def test_every_public_name_is_there():
    for name in apmae.__all__:
        assert getattr(apmae, name).__name__ == name


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = apmae.Nothing


def test_importing_apmae_does_not_import_torch():
    code = "import sys, apmae; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
