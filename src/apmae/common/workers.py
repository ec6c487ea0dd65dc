"""Tables computed in worker processes, each one kept as a file, so that a killed stage goes on.

A table is a part of a stage's work (one head's clusters, one task's predictions). A part that is
there is whole and is not computed again; a worker computes with one thread, so that the numbers do
not depend on the machine's cores.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import polars as pl
import zarr
from threadpoolctl import threadpool_limits

from apmae.common.atomic import write_parquet
from apmae.common.errors import ApmaeError
from apmae.common.progress import Progress
from apmae.vocabulary import WorkerBackend


def compute_parts(
    compute: Callable[..., pl.DataFrame],
    parts: Mapping[Path, tuple[Any, ...]],
    progress: Progress,
    description: str,
    *,
    processes: int | None = None,
    backend: WorkerBackend = "loky",
) -> None:
    """Write `compute(*arguments)` to every path of `parts` that is not there yet.

    Args:
        compute: a function of a module (workers import it); it returns the part.
        parts: file of each part (`.parquet`) and the arguments that make it.
        processes: workers; all cores by default.

    Raises:
        ApmaeError: the backend's package is not installed.
    """
    missing = [(path, arguments) for path, arguments in parts.items() if not path.exists()]
    with _backend(backend, processes):
        workers = joblib.Parallel(return_as="generator_unordered", max_nbytes=None)
        done = workers(
            joblib.delayed(_compute_part)(compute, path, arguments, os.getpid())
            for path, arguments in missing
        )
        for _ in progress(done, description, total=len(missing)):
            pass


def _compute_part(
    compute: Callable[..., pl.DataFrame], path: Path, arguments: tuple[Any, ...], main: int
) -> None:
    if os.getppid() == main:
        _end_with(main)
    # Every thread of Zarr keeps freed memory to itself: 190 MB a worker on two cores.
    with threadpool_limits(1), zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1}):
        write_parquet(path, compute(*arguments))


@cache
def _end_with(parent: int) -> None:
    """End this worker soon after its parent, however that ends: else it would write into the next run."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _backend(backend: WorkerBackend, processes: int | None) -> Iterator[None]:
    n_jobs = processes or -1
    if backend == "loky":
        with joblib.parallel_config("loky", n_jobs=n_jobs):
            yield
    elif backend == "dask":
        with _dask_client(), joblib.parallel_config("dask", n_jobs=n_jobs):
            yield
    else:
        _register_ray()
        with joblib.parallel_config("ray", n_jobs=n_jobs):
            yield


def _dask_client() -> AbstractContextManager[object]:
    """A client of the scheduler that dask's own config names (DASK_SCHEDULER_ADDRESS), else a local one."""
    try:
        from dask.distributed import Client
    except ImportError:
        raise _not_installed("dask") from None
    client: AbstractContextManager[object] = Client()
    return client


def _register_ray() -> None:
    """Ray joins the cluster that RAY_ADDRESS names, else starts a local one."""
    try:
        from ray.util.joblib import register_ray
    except ImportError:
        raise _not_installed("ray") from None
    register_ray()


def _not_installed(package: str) -> ApmaeError:
    return ApmaeError(
        f'clustering.backend: {package} is not installed; install it with `pip install "apmae[{package}]"`'
    )
