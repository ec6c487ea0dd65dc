"""A whole study in miniature that ran to its end."""

import subprocess

import pytest
from helpers.models import write_parts
from helpers.studies import ENVIRONMENT, command, write_study

from apmae.study import Study

RUN = "run [1]*"
"""A name that libraries take for a pattern where they may."""


@pytest.fixture(scope="package")
def parts(tmp_path_factory):
    """(target, corpus) directories."""
    return write_parts(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="package")
def finished(parts, tmp_path_factory):
    """A study file whose study ran to its end, and the finished study."""
    root = tmp_path_factory.mktemp("finished")
    path = write_study(root / "study.yaml", *parts, root / RUN)
    subprocess.run(command(path), env=ENVIRONMENT, check=True, capture_output=True)
    return path, Study.open(root / RUN)
