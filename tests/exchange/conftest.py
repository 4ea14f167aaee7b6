"""Two days of four neurons, concatenated, sorted once; tests work on copies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from simulated import save_recording, simulate_dense
from spikelab.spike_sorting import sort_recording

DAY_S = 6.0
SETTINGS = {"sorter": "threshold", "spikes_min_first": 10, "spikes_min_second": 10, "n_jobs": 1}


@pytest.fixture(scope="session")
def sorted_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the recording (``days``) and its results (``out``), intermediate files included."""
    root = tmp_path_factory.mktemp("sorted")
    for day in range(2):
        save_recording(simulate_dense(duration_s=DAY_S, seed=day).recording, root / "days" / f"day{day}")
    sort_recording(
        [root / "days"],
        results_folders=[root / "out"],
        intermediate_folders=[root / "out" / "intermediate"],
        delete_inter=False,
        **SETTINGS,
    )
    return root


@pytest.fixture
def copied(sorted_days: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies all of it and returns the results folder; `traces` and `recording` may be left out."""

    def copy(*, traces: bool = True, recording: bool = True) -> Path:
        root = tmp_path / "moved"
        # With their times: the fingerprint of the recording has them.
        shutil.copytree(sorted_days, root, copy_function=shutil.copy2)
        if not traces:
            shutil.rmtree(root / "out" / "intermediate")
        if not recording:
            shutil.rmtree(root / "days")
        return root / "out"

    return copy


@pytest.fixture
def results(copied: Callable[..., Path]) -> Path:
    return copied()
