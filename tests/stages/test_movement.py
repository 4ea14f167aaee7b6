"""Movement of the tissue as an artifact: measured once, without a new sort, told of where it matters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from simulated import simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.data import BinaryRecording, Epoch
from spikelab.spike_sorting.stages import warn_of_movement

SETTINGS: dict[str, Any] = {"sorter": "threshold", "spikes_min_first": 3, "n_jobs": 1, "create_figures": False}


def test_a_finished_sort_gets_the_measurement_and_is_not_sorted_again(tmp_path: Path) -> None:
    recording = simulate(duration_s=4.0).recording
    folders = {"results_folders": [tmp_path / "out"], "intermediate_folders": [tmp_path / "inter"]}
    (before,) = sort_recording([recording], **SETTINGS, **folders)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "stages").glob("*/manifest.json")}
    (after,) = sort_recording([recording], motion="estimate", **SETTINGS, **folders)
    assert "motion" not in before.metadata
    assert after.metadata["motion"]["groups"][0]["moved_um"] is None  # four seconds are too few
    changed = {path.parent.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {"compilation"}
    assert "How the tissue moved" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for before_train, after_train in zip(before.train, after.train, strict=True):
        np.testing.assert_array_equal(before_train, after_train)


@pytest.mark.parametrize(
    ("sorter", "moved_um", "corrected", "warned", "params"),
    [
        ("mountainsort5", 40.0, False, True, None),
        ("mountainsort5", 4.0, False, False, None),
        ("mountainsort5", None, False, False, None),
        ("mountainsort5", 40.0, True, False, None),
        ("kilosort4", 40.0, False, False, None),
        ("kilosort4", 40.0, False, False, {"nblocks": 5}),
        ("kilosort4", 40.0, False, True, {"nblocks": 0}),
        ("kilosort4", 40.0, False, True, {"do_correction": False}),
        ("kilosort4", 40.0, False, True, {"do_correction": True, "nblocks": 0}),
        ("spikeinterface:kilosort4", 40.0, False, False, None),
        ("spikeinterface:kilosort2_5", 40.0, False, False, None),
        ("spikeinterface:spykingcircus2", 40.0, False, False, None),
        ("spikeinterface:spykingcircus2", 40.0, False, True, {"apply_motion_correction": False}),
        ("spikeinterface:tridesclous2", 40.0, False, True, None),
        ("spikeinterface:tridesclous2", 40.0, False, False, {"apply_motion_correction": True}),
    ],
)
def test_movement_that_the_sorter_does_not_bear_is_warned_of(
    sorter: str, moved_um: float | None, corrected: bool, warned: bool, params: Any, recwarn: pytest.WarningsRecorder
) -> None:
    still = BinaryRecording(Path("x"), 1, 1, 1.0, 1.0, ("a",), np.zeros((1, 2)), None, (Epoch(0, 1),))
    binary = replace(still, motion={"corrected": corrected, "groups": [{"moved_um": moved_um}]})
    about = SimpleNamespace(sorter_name=sorter, sorter_params=params)
    context: Any = SimpleNamespace(config=SimpleNamespace(sorter=about))
    warn_of_movement(context, still)
    warn_of_movement(context, binary)
    assert ["set motion='correct'" in str(w.message) for w in recwarn] == [True] * warned
