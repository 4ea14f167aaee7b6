"""Frames of windows around spikes, and the segments in which noise is measured."""

from __future__ import annotations

import numpy as np

N_SEGMENTS = 20
SEGMENT_FRAMES = 10_000
MAD_TO_STD = 0.6745
"""Median |x| of a standard normal."""


def whole_frames(ms: float, sampling_frequency: float) -> int:
    """Convert milliseconds to whole frames at a rate in Hz; the floating-point product is truncated.

    All windows are converted here, so that 4.1 ms at 30 kHz (a product of 122.999...) are as many frames for a template
    as for its metrics.
    """
    return int(ms * sampling_frequency / 1000)


def noise_segments(n_samples: int, seed: int) -> list[tuple[int, int]]:
    """Choose 20 segments of 10 000 frames, or all frames where there are no more; half-open, ascending, disjoint."""
    if n_samples <= N_SEGMENTS * SEGMENT_FRAMES:
        return [(a, min(a + SEGMENT_FRAMES, n_samples)) for a in range(0, n_samples, SEGMENT_FRAMES)]
    rng = np.random.default_rng(seed & 0xFFFF_FFFF_FFFF_FFFF)
    slots = np.sort(rng.choice(n_samples // SEGMENT_FRAMES, N_SEGMENTS, replace=False))
    starts = slots * SEGMENT_FRAMES + rng.integers(0, n_samples % SEGMENT_FRAMES + 1)
    return [(a, a + SEGMENT_FRAMES) for a in starts.tolist()]
