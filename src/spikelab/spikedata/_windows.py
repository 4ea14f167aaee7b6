"""Which frames are measured: windows around spikes, and the stretches that noise is taken from."""

from __future__ import annotations

import numpy as np

N_STRETCHES = 20
STRETCH_FRAMES = 10_000
MAD_TO_STD = 0.6745
"""Median |x| of a standard normal."""


def whole_frames(ms: float, sampling_frequency: float) -> int:
    """Milliseconds to whole frames at a rate in Hz, cut off as the product comes out in floating point.

    The one conversion for windows everywhere, so that 4.1 ms at 30 kHz, 122.999... by its product, are as many frames
    for a template as for its metrics.
    """
    return int(ms * sampling_frequency / 1000)


def noise_stretches(n_samples: int, seed: int) -> list[tuple[int, int]]:
    """Half-open frame ranges, ascending, that do not overlap: 20 of 10 000 frames, or all where there are no more."""
    if n_samples <= N_STRETCHES * STRETCH_FRAMES:
        return [(a, min(a + STRETCH_FRAMES, n_samples)) for a in range(0, n_samples, STRETCH_FRAMES)]
    rng = np.random.default_rng(seed & 0xFFFF_FFFF_FFFF_FFFF)
    slots = np.sort(rng.choice(n_samples // STRETCH_FRAMES, N_STRETCHES, replace=False))
    starts = slots * STRETCH_FRAMES + rng.integers(0, n_samples % STRETCH_FRAMES + 1)
    return [(a, a + STRETCH_FRAMES) for a in starts.tolist()]
