"""One thread per process: the tests' models are too small for more, and waiting threads slow everything else down."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

if TYPE_CHECKING:
    from killable import Project

torch.set_num_threads(1)
# Whatever called pytest may ignore signals (nohup, a shell's `&`), and children inherit that: tests of signals need defaults.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a file's tests, which share fixtures, to one process of pytest-xdist, and begin with the files that take longest."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    for item in items:
        shared = "killable" if "killable" in getattr(item, "fixturenames", ()) else str(item.path)
        if item.path.name.startswith("test_slurm"):  # one cluster at a time on a machine
            shared = "slurm"
        item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture(scope="session")
def killable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A small project in which everything has been made once; tests remove runs and leave them as they were."""
    from killable import project

    yield from project(tmp_path_factory.mktemp("killable"))
