"""A sorted folder that is made once, a server on a copy of it in a thread, and a client that speaks to it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from browsers import browser
from simulated import save_recording, simulate_dense
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.view import serve
from spikelab.spike_sorting.view.claim import FOLDER
from viewing import Client

__all__ = ["browser"]
SETTINGS = {
    "sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1, "create_figures": False,
    "random_seed": 1,
}  # fmt: skip


@pytest.fixture(scope="session")
def sorted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording (``dish``) and its results (``out``), intermediate files included."""
    root = tmp_path_factory.mktemp("sorted")
    save_recording(simulate_dense(duration_s=6.0).recording, root / "dish")
    sort_recording(
        [root / "dish"],
        results_folders=[root / "out"],
        intermediate_folders=[root / "out" / "intermediate"],
        delete_inter=False,
        **SETTINGS,
    )
    return root


@pytest.fixture
def copied(sorted_once: Path, tmp_path: Path) -> Path:
    """Results folder of a copy."""
    ignore = shutil.ignore_patterns(FOLDER)
    shutil.copytree(sorted_once, tmp_path / "moved", copy_function=shutil.copy2, ignore=ignore)
    return tmp_path / "moved" / "out"


class Servers:
    """Servers in threads of their own, until they are closed."""

    def __init__(self) -> None:
        self.open: list[tuple[Any, Any, threading.Thread]] = []

    def start(self, results: Path, **options: Any) -> Client:
        """Serve a results folder."""
        context = serve(results, **options)
        found = context.__enter__()
        thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.open.append((context, found, thread))
        return Client(found.address)

    def close(self) -> None:
        """End all of them, as Ctrl-C does."""
        for context, found, thread in self.open:
            found.server.shutdown()
            thread.join()
            context.__exit__(None, None, None)


@pytest.fixture
def served() -> Iterator[Callable[..., Client]]:
    """A function that serves a results folder until the end of the test."""
    servers = Servers()
    yield servers.start
    servers.close()


@pytest.fixture
def client(copied: Path, served: Callable[..., Client]) -> Client:
    return served(copied)


@pytest.fixture(scope="session")
def looked_at(sorted_once: Path) -> Path:
    """Results folder that one server has open for all tests that change nothing."""
    return sorted_once / "out"


@pytest.fixture(scope="session")
def looking(looked_at: Path) -> Iterator[Client]:
    """Client of that server."""
    servers = Servers()
    yield servers.start(looked_at)
    servers.close()
    assert not (looked_at / "decisions.json").exists()
