"""Features of units that say how hard they are to sort, and that known and unknown neurons have alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, FloatArray, IntArray, Waveforms

    Values = NDArray[np.float64]

NAMES = ("log_snr", "log_spikes", "violations", "excess", "crowding", "likeness")
DEAD_MS = 1.5


def features(waveforms: Waveforms, binary: BinaryRecording) -> Values:
    """Measure the features of all units, shape (units, features).

    - ``log_snr``: natural logarithm of the SNR.
    - ``log_spikes``: decimal logarithm of the number of spikes.
    - ``violations``: share of the intervals below 1.5 ms.
    - ``excess``: standard deviation over amplitude on the main channel, without that of the noise.
    - ``crowding``: decimal logarithm of the rate (Hz, and 0.1) of the other units' spikes on the main channel, each
      weighted by the square of its amplitude there over the unit's own, at most 1.
    - ``likeness``: largest cosine with the template of another unit.
    """
    rows = np.arange(waveforms.n_units)
    counts = np.array([len(train) for train in waveforms.spikes], dtype=np.float64)
    snr = np.maximum(waveforms.snr.astype(np.float64), 0.5)
    excess = np.sqrt(np.maximum(0.0, waveforms.std_norm.astype(np.float64) ** 2 - snr**-2.0))
    own = waveforms.amplitudes[rows, waveforms.main_channels].astype(np.float64)
    share = waveforms.amplitudes[:, waveforms.main_channels].T / np.maximum(own, 1e-6)[:, None]
    np.fill_diagonal(share, 0.0)
    crowding = np.clip(share, 0.0, 1.0) ** 2 @ (counts / binary.duration_s)
    violations = [_violations(train, binary.sampling_frequency) for train in waveforms.spikes]
    columns = (
        np.log(snr), np.log10(np.maximum(counts, 1.0)), violations, np.minimum(excess, 1.0),
        np.log10(0.1 + crowding), likeness(waveforms.templates),
    )  # fmt: skip
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _violations(train: IntArray, sampling_frequency: float) -> float:
    intervals = np.diff(train) / sampling_frequency * 1000.0
    return float(np.mean(intervals < DEAD_MS)) if len(intervals) else 0.0


def likeness(templates: FloatArray) -> Values:
    """Return the largest cosine of each template with another one, to three digits, shape (units,)."""
    flat = templates.reshape(len(templates), int(np.prod(templates.shape[1:])))
    products = (flat @ flat.T).astype(np.float64)
    norms = np.sqrt(np.maximum(np.diagonal(products), 1e-12))
    cosines = products / norms / norms[:, None]
    np.fill_diagonal(cosines, 0.0)
    return np.asarray(np.round(np.maximum(cosines.max(axis=1, initial=0.0), 0.0), 3), dtype=np.float64)
