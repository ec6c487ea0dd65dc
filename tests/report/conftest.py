from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.finished_study import SMALL, build_study

from apmae.study import Study


@pytest.fixture(scope="session")
def made_up_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return build_study(tmp_path_factory.mktemp("studies") / "made-up")


@pytest.fixture
def small_study(tmp_path: Path) -> Callable[..., Study]:
    """A builder of studies small enough to be made for one test each."""

    def build(**changes: Any) -> Study:
        return build_study(tmp_path / "small", **(SMALL | changes))

    return build
