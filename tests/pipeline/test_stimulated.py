"""A stimulated recording through the pipeline: what was learnt before is applied, and pulses stay with the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from spikeinterface.core import NumpyRecording

from simulated import FS, simulate_dense
from spikelab.spike_sorting import sort_recording

if TYPE_CHECKING:
    from pathlib import Path

PULSES = (20_000, 36_000, 52_000)
COMMON: dict[str, Any] = {
    "sorter": "rt_sort", "rt_sort_device": "cpu", "n_jobs": 1, "spikes_min_first": 3, "spikes_min_second": 3,
    "save_waveform_files": False, "create_figures": False,
}  # fmt: skip


def stimulated(plain: Any) -> NumpyRecording:
    """Microvolts, with pulses of 0.4 ms that decay for milliseconds."""
    traces = plain.get_traces().copy()
    after = np.arange(1500)[:, None] / 20
    for pulse in PULSES:
        traces[pulse : pulse + 8] += 5000
        traces[pulse + 8 : pulse + 1508] += 2000 * np.exp(-after / np.linspace(5, 15, traces.shape[1]))
    copy = NumpyRecording([traces], FS)
    copy.set_dummy_probe_from_locations(plain.get_channel_locations())
    return copy


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Path]:
    """The sort without pulses, that of the stimulated recording with what was learnt from it, and its folder."""
    folder, plain = tmp_path_factory.mktemp("stimulated"), simulate_dense(duration_s=4.0).recording
    (before,) = sort_recording([plain], results_folders=[folder / "a"], intermediate_folders=[folder / "ia"], **COMMON)
    (during,) = sort_recording(
        [stimulated(plain)],
        results_folders=[folder / "b"],
        intermediate_folders=[folder / "ib"],
        rt_sort_model_path=folder / "a" / "stages" / "sorting" / "rt_sort",
        stim_times_s=[[(pulse + 20) / FS for pulse in PULSES]],
        **COMMON,
    )
    return before, during, folder / "b"


def test_what_was_learnt_without_pulses_is_applied(both: tuple[Any, Any, Path]) -> None:
    before, during, _ = both
    assert during.unit_ids == before.unit_ids
    pulses_ms = np.array(PULSES) * 1000 / FS
    for plain, found in zip(before.train, during.train, strict=True):
        near = (np.abs(plain[:, None] - pulses_ms) < 4).any(axis=1)
        missed = [time for time in plain[~near] if np.abs(found - time).min(initial=np.inf) > 0.2]
        assert len(missed) <= 0.02 * len(plain)
        assert len(found) <= 1.02 * len(plain)


def test_pulses_are_in_the_results_and_the_report(both: tuple[Any, Any, Path]) -> None:
    _, during, folder = both
    np.testing.assert_allclose(during.stim_times(), np.array(PULSES) * 1000 / FS)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Kept units around stimulation pulses" in page
    assert page.count("around 3 pulses") == during.N
    assert "3 pulses" in page.split("Stimulation", 1)[1][:80]
