"""Injection: what is written is the recording and the spikes, to rounding, and the recording stays as it is."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.validation.known import GAIN, described, grid, shape_of

from spikelab.spike_sorting.data import BinaryRecording
from spikelab.spike_sorting.validation import inject, write_injected
from spikelab.spike_sorting.validation.plan import PHASES, Injection

N, CHANNELS = 3000, 25


def source(path: Path, counts: np.ndarray) -> BinaryRecording:
    np.ascontiguousarray(counts, dtype=np.int16).tofile(path)
    return described(path, grid(), len(counts))


def neuron(frames: Any, channels: Any, uv: float = 80.0, stretches: int = 1, **more: Any) -> Injection:
    """A neuron that is half as large at the end, where it has several stretches."""
    frames, channels = np.asarray(frames, dtype=np.int64), np.asarray(channels, dtype=np.int64)
    course = np.linspace(1.0, 0.5, stretches)[:, None, None]
    shapes = course * (uv * shape_of()[:, None] / (1.0 + np.arange(len(channels))))[None]
    values: dict[str, Any] = {
        "donor": 0, "main": int(channels[0]), "snr": 8.0, "channels": channels, "shapes": shapes.astype(np.float32),
        "middles": np.linspace(0.0, N, stretches) if stretches > 1 else np.array([N / 2]), "n_before": 20,
        "frames": frames, "phases": np.zeros(len(frames), dtype=np.int64),
        "sizes": np.ones(len(frames), dtype=np.float32), **more,
    }  # fmt: skip
    return Injection(**values)


def sum_of(injections: list[Injection], n: int = N) -> np.ndarray:
    """Add the spikes one by one, in uV: those between two frames as a band-limited delay makes them."""
    traces = np.zeros((n, CHANNELS))
    for each in injections:
        stretches = np.arange(len(each.middles))
        for frame, phase, size in zip(each.frames, each.phases, each.sizes, strict=True):
            place = np.interp(frame, each.middles, stretches)
            lower = min(int(place), max(0, len(stretches) - 2))
            upper = min(lower + 1, len(stretches) - 1)
            shape = (1 - (place - lower)) * each.shapes[lower] + (place - lower) * each.shapes[upper]
            if phase:
                turn = np.exp(-2j * np.pi * np.fft.rfftfreq(2 * len(shape)) * phase / PHASES)[:, None]
                shape = np.fft.irfft(np.fft.rfft(shape, 2 * len(shape), axis=0) * turn, axis=0)[: len(shape)]
            start = frame - each.n_before
            own = slice(max(0, -start), min(len(shape), n - start))
            if own.start < own.stop:
                traces[start + own.start : start + own.stop, each.channels] += size * shape[own]
    return traces


@given(seed=st.integers(0, 2**32 - 1), chunk=st.sampled_from([1 << 23, 700 * CHANNELS, 64 * CHANNELS]))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_written_minus_original_is_the_sum_of_the_shapes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, chunk: int
) -> None:
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("inject")
    binary = source(folder / "a.dat", rng.integers(-3000, 3000, (N, CHANNELS)))
    injections = []
    for _ in range(3):
        frames = np.sort(rng.choice(N, 12, replace=False))
        course = {
            "phases": rng.integers(0, PHASES, 12), "sizes": rng.uniform(0.3, 2.0, 12).astype(np.float32),
        }  # fmt: skip
        channels, stretches = rng.choice(CHANNELS, 3, replace=False), int(rng.integers(1, 4))
        injections.append(neuron(frames, channels, rng.uniform(-200, 200), stretches, **course))
    before = hashlib.sha256(binary.path.read_bytes()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inject, "CHUNK_VALUES", chunk)
        mixed = write_injected(binary, injections, folder / "b.dat")
    assert hashlib.sha256(binary.path.read_bytes()).hexdigest() == before
    assert mixed.to_dict() == binary.to_dict()
    difference = (mixed.counts.astype(np.float64) - binary.counts) * GAIN
    expected = sum_of(injections)
    smallest = 0.5 * GAIN + 1e-3
    delayed = 0.02 * np.abs(expected).max()  # a spline is not quite band-limited
    assert np.abs(difference - expected).max() <= smallest + delayed
    whole = [replace(each, phases=np.zeros_like(each.phases)) for each in injections]
    mixed = write_injected(binary, whole, folder / "c.dat")
    difference = (mixed.counts.astype(np.float64) - binary.counts) * GAIN
    assert np.abs(difference - sum_of(whole)).max() <= smallest


def test_chunks_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    binary = source(tmp_path / "a.dat", rng.integers(-3000, 3000, (N, CHANNELS)))
    frames = np.arange(5, N, 97)
    injections = [
        neuron(frames + shift, [main, main + 1], stretches=3, phases=rng.integers(0, PHASES, len(frames)))
        for shift, main in ((0, 3), (2, 4))
    ]
    written = set()
    for chunk in (1, 37 * CHANNELS, 61 * CHANNELS, 1 << 23):
        monkeypatch.setattr(inject, "CHUNK_VALUES", chunk)
        written.add(write_injected(binary, injections, tmp_path / "b.dat").path.read_bytes())
    assert len(written) == 1


def test_spikes_are_clipped_at_the_rail_and_nothing_else_is_touched(tmp_path: Path) -> None:
    counts = np.zeros((N, CHANNELS), dtype=np.int16)
    counts[:, 3], counts[:, 4], counts[:, 5] = -32_700, 32_700, -32_768
    binary = source(tmp_path / "a.dat", counts)
    mixed = write_injected(binary, [neuron([1000], [3, 4], uv=200.0)], tmp_path / "b.dat")
    assert mixed.counts[1000, 3] == -32_768  # the trough would be 800 counts further
    assert mixed.counts[:, 3].max() < -32_000  # and did not wrap around
    assert mixed.counts[:, 4].max() <= 32_767
    untouched = np.delete(np.arange(CHANNELS), [3, 4])
    np.testing.assert_array_equal(mixed.counts[:, untouched], counts[:, untouched])
    assert mixed.path.stat().st_size == binary.path.stat().st_size


def test_without_neurons_the_copy_is_the_recording(tmp_path: Path) -> None:
    binary = source(tmp_path / "a.dat", np.random.default_rng(0).integers(-32_768, 32_768, (N, CHANNELS)))
    assert write_injected(binary, [], tmp_path / "b.dat").path.read_bytes() == binary.path.read_bytes()
