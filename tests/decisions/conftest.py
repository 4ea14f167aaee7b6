"""One sort of four neurons; tests work on copies of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulated import save_recording, simulate_dense
from spikelab.spike_sorting import sort_recording

SETTINGS = {
    "sorter": "threshold",
    "spikes_min_first": 10,
    "spikes_min_second": 10,
    "n_jobs": 1,
    "delete_inter": False,
    "create_figures": False,
    "create_unit_figures": False,
}


def sort_in(root: Path, **settings: Any):
    """Sort the recording in a folder; the units."""
    (units,) = sort_recording(
        [root / "rec"],
        results_folders=[root / "out"],
        intermediate_folders=[root / "out" / "intermediate"],
        **(SETTINGS | settings),
    )
    return units


@pytest.fixture(scope="session")
def sorted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recording (``rec``) and its results (``out``), intermediate files included."""
    root = tmp_path_factory.mktemp("sorted")
    save_recording(simulate_dense(duration_s=6.0, seed=1).recording, root / "rec")
    sort_in(root)
    return root


@pytest.fixture
def sort() -> Callable[..., Any]:
    """A function that sorts the recording in a folder, or what is left to do of that."""
    return sort_in


@pytest.fixture
def copied(sorted_once: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies all of it; `traces` and `recording` may be left out."""

    def copy(*, traces: bool = True, recording: bool = True) -> Path:
        root = tmp_path / "moved"
        # With their times: the fingerprint of the recording has them.
        shutil.copytree(sorted_once, root, copy_function=shutil.copy2)
        if not traces:
            shutil.rmtree(root / "out" / "intermediate")
        if not recording:
            shutil.rmtree(root / "rec")
        return root

    return copy
