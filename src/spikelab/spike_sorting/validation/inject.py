"""Injection: the traces of a recording with further neurons in them, written to a file of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.validation._kernels import add_spikes
from spikelab.spike_sorting.validation.plan import PHASES
from spikelab.system.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, FloatArray, IntArray
    from spikelab.spike_sorting.validation.plan import Injection

CHUNK_VALUES = 1 << 23
LOWEST, HIGHEST = -(2**15), 2**15 - 1


def write_injected(binary: BinaryRecording, injections: Sequence[Injection], path: Path) -> BinaryRecording:
    """Write the counts of `binary` with the spikes of `injections` added; `binary` itself is only read."""
    shifted = [_between_frames(injection) for injection in injections]
    step = max(1, CHUNK_VALUES // binary.n_channels)
    with path.open("wb") as file, Progress("traces with known neurons", binary.n_samples) as progress:
        for start in range(0, binary.n_samples, step):
            end = min(start + step, binary.n_samples)
            n_values = (end - start) * binary.n_channels
            counts = np.fromfile(binary.path, dtype=np.int16, count=n_values, offset=2 * start * binary.n_channels)
            added = np.zeros((end - start, binary.n_channels), dtype=np.float32)
            for injection, shapes in zip(injections, shifted, strict=True):
                _add(added, start, injection, shapes)
            whole = counts.reshape(added.shape) + np.rint(added / np.float32(binary.gain_uv))
            file.write(np.clip(whole, LOWEST, HIGHEST).astype(np.int16).data)
            progress.update(end - start)
    return replace(binary, path=path)


def _between_frames(injection: Injection) -> FloatArray:
    """Delay the shapes by eighths of a frame, shape (stretches, phases, samples, channels)."""
    from scipy.interpolate import CubicSpline

    n_samples = injection.shapes.shape[1]
    spline = CubicSpline(np.arange(-1, n_samples + 1), np.pad(injection.shapes, ((0, 0), (1, 1), (0, 0))), axis=1)
    at = np.arange(n_samples) - np.arange(PHASES)[:, None] / PHASES
    return np.asarray(spline(at), dtype=np.float32)


def _add(traces: FloatArray, start: int, injection: Injection, shapes: FloatArray) -> None:
    """Add the spikes of one neuron that touch the frames of `traces`, which begin at the frame `start`."""
    n_samples = shapes.shape[2]
    own = slice(*np.searchsorted(injection.frames, [start - n_samples, start + len(traces) + n_samples]))
    starts = injection.frames[own] - injection.n_before - start
    lower, share = _stretches(injection, injection.frames[own])
    add_spikes(traces, starts, injection.channels, shapes, lower, share, injection.phases[own], injection.sizes[own])


def _stretches(injection: Injection, frames: IntArray) -> tuple[IntArray, FloatArray]:
    """Return the stretch before each spike, and the share of the one after it."""
    place = np.interp(frames, injection.middles, np.arange(len(injection.middles)))
    lower = np.minimum(place.astype(np.int64), max(0, len(injection.middles) - 2))
    return lower, (place - lower).astype(np.float32)
