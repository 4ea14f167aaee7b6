"""Evidence on every spike: exact against the traces, the same for any number of workers, kept and loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spikelab.spike_sorting.data import BinaryRecording, Epoch, Evidence
from spikelab.spike_sorting.waveforms import chunks
from spikelab.spike_sorting.waveforms.evidence import SHOWN_S, measure_evidence, near_channels

FS, GAIN = 20_000.0, 0.25
PLACES = np.column_stack([np.arange(6) * 40.0, np.zeros(6)])
FRAMES = (np.array([500, 9000, 30_000]), np.array([700, 700, 41_990]), np.array([20_000]))


def recorded(folder: Path, **changes: Any) -> tuple[BinaryRecording, np.ndarray, Any]:
    """Three units on known channels in known noise; the second's peaks are positive."""
    counts = np.random.default_rng(0).integers(-300, 300, (42_000, 6)).astype(np.int16)
    counts[30_000] = 50  # nothing of the first unit's sign
    path = folder / "traces.dat"
    counts.tofile(path)
    binary = BinaryRecording(
        path, 42_000, 6, FS, GAIN, tuple("abcdef"), PLACES, None, (Epoch(0, 21_000), Epoch(21_000, 42_000)), **changes
    )
    waveforms = SimpleNamespace(
        unit_ids=np.array([0, 4, 9]), spikes=FRAMES, n_units=3, main_channels=np.array([1, 3, 5]),
        has_pos_peak=np.array([False, True, False]), template_stds=np.arange(3 * 5 * 6.0).reshape(3, 5, 6).astype("f4"),
        noise=np.ones(6, dtype=np.float32),
    )  # fmt: skip
    return binary, counts, waveforms


def test_amplitudes_and_places_are_those_of_the_traces(tmp_path: Path) -> None:
    binary, counts, waveforms = recorded(tmp_path)
    found = measure_evidence(binary, waveforms, 1)
    np.testing.assert_array_equal(found.counts, [3, 3, 1])
    spike = 0
    for unit, main in enumerate(waveforms.main_channels):
        sign = 1 if waveforms.has_pos_peak[unit] else -1
        near = np.flatnonzero(np.abs(PLACES[:, 0] - PLACES[main, 0]) <= 100.0)
        for frame in FRAMES[unit]:
            assert found.amplitudes[spike] == np.float32(counts[frame, main] * GAIN)
            weights = np.maximum(sign * counts[frame, near].astype(float), 0) ** 2
            x = weights @ PLACES[near, 0] / weights.sum() if weights.sum() else PLACES[main, 0]
            np.testing.assert_allclose(found.places[spike], [x, 0], rtol=1e-6)
            spike += 1
        np.testing.assert_array_equal(found.spreads[unit], waveforms.template_stds[unit, :, main])
    assert found.places[2, 0] == PLACES[1, 0]  # where no channel has the sign


def test_workers_and_chunks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary, _, waveforms = recorded(tmp_path)
    first = measure_evidence(binary, waveforms, 1)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 12_000)
    second = measure_evidence(binary, waveforms, 3)
    for name in ("amplitudes", "places", "traces"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_shown_traces_are_of_one_epoch_without_dead_time(tmp_path: Path) -> None:
    dead = np.array([[0, 9500], [36_500, 42_000]])
    binary, counts, waveforms = recorded(tmp_path, dead_time=dead)
    found = measure_evidence(binary, waveforms, 1)
    start, length = found.traces_start, round(SHOWN_S * FS)
    assert length == len(found.traces)
    assert not any(start < end and start + length > begin for begin, end in [*dead.tolist(), (21_000, 21_000)])
    np.testing.assert_array_equal(found.traces, counts[start : start + length][:, found.traces_channels])
    short = replace(binary, n_samples=900, epochs=(Epoch(0, 900),), dead_time=dead[:0])
    few = SimpleNamespace(**{**vars(waveforms), "spikes": (np.array([500]), np.array([700]), np.array([], dtype=int))})
    assert len(measure_evidence(short, few, 1).traces) == 900


def test_channels_near_the_main_one_are_of_its_group() -> None:
    groups = np.array([0, 0, 1, 1, 0, 0])
    near = near_channels(PLACES, groups, np.array([1, 3]))
    assert [row[row >= 0].tolist() for row in near] == [[1, 0], [3, 2]]
    together = near_channels(np.zeros((3, 2)), np.zeros(3, dtype=int), np.array([2]))
    assert together[0].tolist() == [2, 0, 1]  # the main one first, also where contacts are in one place


def test_evidence_is_kept_as_it_is(tmp_path: Path) -> None:
    binary, _, waveforms = recorded(tmp_path)
    found = measure_evidence(binary, waveforms, 1)
    found.save(tmp_path)
    again = Evidence.load(tmp_path)
    for name, value in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert again.spikes_of(1) == slice(3, 6)
