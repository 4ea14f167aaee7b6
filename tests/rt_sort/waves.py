"""A spike, its temporal components, and white noise, for tests of what is learnt of units."""

from __future__ import annotations

import numpy as np

from spikelab.spike_sorting.rt_sort.whitening import Noise

FS, N_FRAMES, ORIGIN = 20_000.0, 51, 6
T = np.arange(N_FRAMES) - 20
SPIKE = -np.exp(-((T / 3) ** 2)) + 0.3 * np.exp(-(((T - 8) / 5) ** 2))
N_COURSE = N_FRAMES - 2 * ORIGIN
COMPONENTS = np.linalg.qr(
    np.stack([SPIKE, np.gradient(SPIKE), np.gradient(np.gradient(SPIKE))])[:, ORIGIN : ORIGIN + N_COURSE].T
)[0].T.astype(np.float32)


def white_noise(n_channels: int) -> Noise:
    """Noise of 2 uV on every channel."""
    sigma = np.full(n_channels, 2.0, np.float32)
    return Noise(sigma, np.eye(n_channels, dtype=np.float32), np.array([1, 0], np.float32))
