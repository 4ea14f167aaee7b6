"""Times on the clock of the recording, of the file and of the wall, and what keeps the clock right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelab import SpikeData

ZERO = "2026-03-01T12:00:00+02:00"
# 1 s, a pause of 30 s, and 3 s more; the file's clock shows 5 s at the start.
CLOCK = [{"ms": 0.0, "clock_s": 5.0, "zero": ZERO}, {"ms": 1000.0, "clock_s": 36.0, "zero": ZERO}]
SOURCES = [
    {"source_file": "a.h5", "source_segment": 0, "source_start_frame": a, "source_end_frame": b, "source_index": 0}
    for a, b in ((0, 20_000), (20_000, 80_000))
]
FRAMES = ([200, 19_999, 20_000, 79_999], [40_000])
ON_FILE = [5010.0, 5999.95, 36_000.0, 38_999.95]


def with_a_pause(**more: Any) -> SpikeData:
    return SpikeData(
        [np.array(frames) / 20.0 for frames in FRAMES],
        length=4000.0,
        neuron_attributes=[{"unit_id": 4, "spike_train_samples": np.array(frames)} for frames in FRAMES],
        metadata={
            "fs_Hz": 20_000.0,
            "rec_chunks_ms": [[0.0, 1000.0], [1000.0, 4000.0]],
            "rec_chunks_frames": [[0, 20_000], [20_000, 80_000]],
            "rec_chunk_sources": SOURCES,
            "clock": CLOCK,
            **more,
        },
    )


def test_three_clocks() -> None:
    sd = with_a_pause()
    assert sd.times(0).tolist() == sd.train[0].tolist()
    assert sd.times(0, "recording") is not sd.train[0]
    np.testing.assert_allclose(sd.times(0, "file"), ON_FILE)
    wall = sd.times(0, "wall")
    assert wall.dtype == np.dtype("datetime64[us]")
    assert [str(moment) for moment in wall[[0, 2]]] == ["2026-03-01T10:00:05.010000", "2026-03-01T10:00:36.000000"]


def test_a_local_date_stays_local() -> None:
    sd = SpikeData(
        [[10.0]], length=100, metadata={"clock": [{"ms": 0.0, "clock_s": 0.0, "zero": "2026-03-01T12:00:00"}]}
    )
    assert str(sd.times(0, "wall")[0]) == "2026-03-01T12:00:00.010000"


def test_days_have_a_date_each() -> None:
    zeros = ["2026-03-01T12:00:00+00:00", "2026-03-02T08:00:00+00:00"]
    clock = [{**entry, "clock_s": 1.0, "zero": zero} for entry, zero in zip(CLOCK, zeros, strict=True)]
    found = with_a_pause(clock=clock).times(0, "wall")
    assert [str(moment)[:19] for moment in found[[0, 3]]] == ["2026-03-01T12:00:01", "2026-03-02T08:00:03"]


@pytest.mark.parametrize("clock", [None, [], [{"ms": 0.0, "clock_s": None, "zero": ""}]])
@pytest.mark.parametrize("asked", ["file", "wall"])
def test_without_a_clock_it_is_said(clock: Any, asked: Any) -> None:
    sd = SpikeData([[10.0]], length=100, metadata={} if clock is None else {"clock": clock})
    assert sd.times(0).tolist() == [10.0]
    with pytest.raises(ValueError, match="has no clock of its own"):
        sd.times(0, asked)


def test_epochs_without_a_clock_are_counted() -> None:
    with pytest.raises(ValueError, match="in 1 of 2 epochs"):
        with_a_pause(clock=[CLOCK[0], {**CLOCK[1], "clock_s": None}]).times(0, "file")


def test_without_a_date_there_is_no_wall() -> None:
    sd = with_a_pause(clock=[{**entry, "zero": ""} for entry in CLOCK])
    np.testing.assert_allclose(sd.times(0, "file"), ON_FILE)
    with pytest.raises(ValueError, match="does not say its date"):
        sd.times(0, "wall")


def test_an_unknown_clock_is_refused() -> None:
    with pytest.raises(ValueError, match="not 'moon'"):
        with_a_pause().times(0, "moon")  # type: ignore[call-overload]


@pytest.mark.parametrize("shift_to", [None, 0.0, 70_000.0])
@pytest.mark.parametrize(("start", "end"), [(0, 4000), (0, 900), (5, 2500), (999, 1001), (1000, 4000), (1500, 4000)])
def test_a_cut_has_the_times_of_the_whole(start: float, end: float, shift_to: float | None) -> None:
    sd = with_a_pause()
    cut = sd.subtime(start, end, shift_to)
    kept = (sd.train[0] >= start) & (sd.train[0] < (end if end < 4000 else np.inf))
    np.testing.assert_allclose(cut.times(0, "file"), sd.times(0, "file")[kept])
    np.testing.assert_array_equal(cut.times(0, "wall"), sd.times(0, "wall")[kept])
    # A second cut, and epochs of the cut, go on from there.
    for part in (cut.subtime(cut.start_time, cut.end_time), *cut.split_epochs()):
        assert set(np.round(part.times(0, "file"), 6)) <= set(np.round(sd.times(0, "file"), 6))


def test_epochs_have_the_times_of_the_whole() -> None:
    sd = with_a_pause()
    parts = sd.split_epochs()
    assert [len(part.metadata["clock"]) for part in parts] == [1, 1]
    np.testing.assert_allclose(np.concatenate([part.times(0, "file") for part in parts]), ON_FILE)


def test_files_have_the_times_of_the_whole() -> None:
    from spikelab.spike_sorting.compilation.split import split_by_file

    sources = [SOURCES[0], {**SOURCES[1], "source_index": 1, "source_file": "b.h5"}]
    sd = with_a_pause(rec_chunk_sources=sources, source_files=["a.h5", "b.h5", "empty.h5"])
    templates = dict.fromkeys(("template", "template_full", "template_windowed"), np.zeros((3, 2)))
    sd = sd.replace(neuron_attributes=[{**unit, **templates} for unit in sd.neuron_attributes])
    first, second, empty = split_by_file(sd)
    np.testing.assert_allclose([*first.times(0, "file"), *second.times(0, "file")], ON_FILE)
    with pytest.raises(ValueError, match="no clock"):
        empty.times(0, "file")


def test_epochs_that_a_user_sets_leave_the_clock_alone() -> None:
    sd = with_a_pause(rec_chunks_ms=[[0, 500], [500, 3000], [3000, 4000]])
    sd.metadata.pop("rec_chunks_frames")
    sd.metadata.pop("rec_chunk_sources")
    np.testing.assert_allclose(sd.times(0, "file"), ON_FILE)
    np.testing.assert_allclose(np.concatenate([part.times(0, "file") for part in sd.split_epochs()]), ON_FILE)


def test_chosen_merged_and_curated_units_keep_the_clock() -> None:
    sd = with_a_pause()
    assert sd.subset([0]).metadata["clock"] == CLOCK
    kept, _ = sd.curate_by_min_spikes(2)
    np.testing.assert_allclose(kept.times(0, "file"), ON_FILE)
    about = {"x": 0.0, "y": 0.0, "template": [[0.0], [-50.0], [10.0]]}
    twice = [sd.train[0], np.sort(np.append(sd.train[0][1:], 2000.0))]
    merged, _ = sd.replace(train=twice, neuron_attributes=[about, about]).curate_by_merge_duplicates()
    assert merged.N == 1
    np.testing.assert_allclose(merged.times(0, "file"), np.sort([*ON_FILE, 37_000.0]))


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".pkl"])
def test_files_keep_the_clock(tmp_path: Path, suffix: str) -> None:
    sd = with_a_pause()
    sd.save(tmp_path / f"units{suffix}")
    loaded = SpikeData.load(tmp_path / f"units{suffix}")
    assert loaded.metadata["clock"] == CLOCK
    np.testing.assert_array_equal(loaded.times(0, "wall"), sd.times(0, "wall"))


@given(shift=st.floats(-1e6, 1e9), frames=st.lists(st.integers(0, 79_999), max_size=20, unique=True))
def test_shifting_the_clock_shifts_times_of_the_file_and_nothing_else(shift: float, frames: list[int]) -> None:
    sd = with_a_pause().replace(train=[np.sort(frames) / 20.0, []], neuron_attributes=[{}, {}])
    shifted = sd.replace(metadata={**sd.metadata, "clock": [{**e, "clock_s": e["clock_s"] + shift} for e in CLOCK]})
    np.testing.assert_allclose(shifted.times(0, "file"), sd.times(0, "file") + 1000 * shift, rtol=1e-15, atol=1e-3)
    assert shifted.times(0).tolist() == sd.times(0).tolist()
    assert [i.tolist() for i in shifted.interspike_intervals()] == [i.tolist() for i in sd.interspike_intervals()]
    assert shifted.rates().tolist() == sd.rates().tolist()
    assert shifted.replace(metadata=sd.metadata) == sd


def test_rates_and_intervals_have_no_pause() -> None:
    sd = with_a_pause()
    assert sd.rates("Hz").tolist() == [1.0, 0.25]
    np.testing.assert_allclose(sd.interspike_intervals()[0], [989.95, 2999.95])


# ---- pynapple --------------------------------------------------------------------------------------------------------


def test_pynapple_has_the_clock_that_is_asked_for() -> None:
    pytest.importorskip("pynapple")
    sd = with_a_pause().replace(neuron_attributes=[{"unit_id": 4}, {"unit_id": 9}])
    recording, file = sd.to_pynapple(), sd.to_pynapple(clock="file")
    np.testing.assert_allclose(recording[4].t, sd.train[0] / 1000)
    np.testing.assert_allclose(file[4].t, np.array(ON_FILE) / 1000)
    np.testing.assert_allclose(file.time_support.values, [[5, 6], [36, 39]])
    # Rates are over the time that was recorded, the pause left out.
    np.testing.assert_allclose(file.rates, [1.0, 0.25], rtol=1e-4)


def test_pynapple_of_a_cut_and_of_one_epoch() -> None:
    pytest.importorskip("pynapple")
    cut = with_a_pause().subtime(500, 2000)
    np.testing.assert_allclose(cut.to_pynapple("file").time_support.values, [[5.5, 6], [36, 37]])
    second = with_a_pause().split_epochs()[1]
    np.testing.assert_allclose(second.to_pynapple("file").time_support.values, [[36, 39]])


def test_clocks_that_pynapple_cannot_hold_are_refused() -> None:
    pytest.importorskip("pynapple")
    with pytest.raises(ValueError, match="overlap or have different zeros"):
        with_a_pause(clock=[CLOCK[0], {**CLOCK[1], "clock_s": 5.5}]).to_pynapple("file")
    with pytest.raises(ValueError, match="overlap or have different zeros"):
        with_a_pause(clock=[CLOCK[0], {**CLOCK[1], "zero": ""}]).to_pynapple("file")
    with pytest.raises(ValueError, match="not 'wall'"):
        with_a_pause().to_pynapple("wall")  # type: ignore[arg-type]
