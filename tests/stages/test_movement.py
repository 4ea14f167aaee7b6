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
from spikelab.spike_sorting.data import BinaryRecording, Epoch, Geometry, SpikeTrains
from spikelab.spike_sorting.recording import motion
from spikelab.spike_sorting.stages import warn_of_moved_units, warn_of_movement

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


@pytest.mark.parametrize(
    ("moved_um", "motion_found", "column", "warned"),
    [
        ([0.0, 38.0, 41.0, np.nan], None, True, True),
        ([0.0, 2.0, 41.0], None, True, False),
        ([np.nan], None, True, False),
        (None, None, True, False),
        ([38.0, 41.0], None, False, False),
        ([38.0, 41.0], {"corrected": False, "groups": [{"moved_um": None}]}, True, True),
        ([38.0, 41.0], {"corrected": False, "groups": [{"moved_um": 40.0}]}, True, False),
        ([38.0, 41.0], {"corrected": True, "groups": [{"moved_um": 40.0}]}, True, False),
    ],
)
def test_units_that_were_seen_to_move_are_warned_of_where_nobody_measured_the_tissue(
    moved_um: Any, motion_found: Any, column: bool, warned: bool, recwarn: pytest.WarningsRecorder
) -> None:
    places = np.array([(20.0 * (k // 4), 20.0 * (k % 4)) if not column else (0.0, 20.0 * k) for k in range(16)])
    binary = BinaryRecording(
        Path("x"), 1, 16, 1.0, 1.0, tuple("abcdefghijklmnop"), places, None, (Epoch(0, 1),),
        geometry=Geometry.of(places), motion=motion_found,
    )  # fmt: skip
    n_units = len(moved_um or [0])
    measures = {} if moved_um is None else {"moved_um": np.array(moved_um)}
    trains = SpikeTrains(np.arange(n_units), (np.zeros(0, dtype=np.int64),) * n_units, measures=measures)
    about = SimpleNamespace(sorter_name="rt_sort", sorter_params=None)
    context: Any = SimpleNamespace(config=SimpleNamespace(sorter=about))
    warn_of_moved_units(context, binary, trains)
    assert ["saw its units move by" in str(w.message) for w in recwarn] == [True] * warned


@pytest.mark.filterwarnings("ignore:the tissue moved")
def test_units_have_what_was_measured_at_their_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sorter did not see them move; the course here moves the tip alone, by 40 um."""
    measure, times = motion.measure_binary, np.linspace(0, 4, 41)

    def moved(*args: Any) -> list[motion.Movement]:
        (found,) = measure(*args)
        depths = found.map.depths_um
        course = motion.Course(found.summary["axis"] == "y", times, np.array(depths), np.outer(times, [10.0, 0.0]))
        return [replace(found, summary={**found.summary, "moved_um": 36.0, "every_s": 0.1}, course=course)]

    monkeypatch.setattr(motion, "measure_binary", moved)
    folders = {"results_folders": [tmp_path / "out"], "intermediate_folders": [tmp_path / "inter"]}
    settings = {**SETTINGS, "spikes_min_second": 3, "motion": "estimate"}
    (units,) = sort_recording([simulate(duration_s=4.0).recording], **settings, **folders)
    assert units.N > 2
    found = [unit["moved_um"] for unit in units.unit_attributes]
    along = "x" if np.ptp(units.metadata["channel_locations"][:, 0]) > 0 else "y"
    places = [unit[along] for unit in units.unit_attributes]
    ends = np.array(
        [
            units.metadata["channel_locations"][:, "xy".index(along)].min(),
            units.metadata["channel_locations"][:, "xy".index(along)].max(),
        ]
    )
    np.testing.assert_allclose(found, np.interp(places, ends, [36.0, 0.0]), atol=1.0)
    assert "The sorter saw" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "moved_um" in (tmp_path / "out" / "unit_metrics.csv").read_text(encoding="utf-8")
