"""The noise between spikes: its size on each channel and how channels share it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from spikelab.spikedata._windows import MAD_TO_STD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.rt_sort.traces import Traces

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

logger = logging.getLogger(__name__)
N_STRETCHES, STRETCH_S = 20, 0.25
EVERY = 5  # neighbouring samples say nearly the same
QUIET = 4.0  # samples beyond this many sigma are spikes
REACH_UM = 150.0  # noise of channels further apart is taken to be independent, unless it is seen that it is not
FAR_REACHING = 0.05  # correlation that would be taken away by that, on average
WIDELY_SHARED = 0.2  # correlation of channels further apart that is worth a word
RIDGE = 0.02
SMALLEST_SIGMA_UV = 0.5
LAG_MS = 2.5  # the correlation in time is followed so far
N_IN_TIME = 64  # channels that it is measured on
SMALLEST_GAIN = 0.1


@dataclass(frozen=True)
class Noise:
    """Gaussian noise, correlated between channels and, the same on all of them, in time.

    Attributes
    ----------
    sigma : numpy.ndarray of float32, shape (channels,)
        Standard deviation (MAD / 0.6745) in microvolts.
    correlation : numpy.ndarray of float32, shape (channels, channels)
    in_time : numpy.ndarray of float32, shape (lags,)
        Correlation of a channel with itself, by lag in frames from 0 on.
    """

    sigma: Floats
    correlation: Floats
    in_time: Floats
    _roots: dict[tuple[int, ...], Floats] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.sigma)

    def __post_init__(self) -> None:
        for name in ("sigma", "correlation", "in_time"):
            check_numbers(f"the noise ({name})", getattr(self, name))

    def __reduce__(self) -> tuple[Any, ...]:
        # Roots are made again: what is saved does not depend on what was sorted before.
        return Noise, (self.sigma, self.correlation, self.in_time)

    def covariance(self, channels: Ints) -> NDArray[np.float64]:
        """Correlation of some channels with a ridge, shape (channels, channels); no eigenvalue is below the ridge.

        Correlations that were measured pair by pair, or fade with distance, need not fit each other: some sum of
        channels would have a negative variance. It is given the smallest one.
        """
        matrix = self.correlation[np.ix_(channels, channels)].astype(np.float64) + RIDGE * np.eye(len(channels))
        values, vectors = np.linalg.eigh(matrix)
        if values[0] >= RIDGE:
            return matrix
        positive: NDArray[np.float64] = (vectors * np.maximum(values, RIDGE)) @ vectors.T
        return positive

    def gain(self, whitened: Floats) -> float:
        """Variance of a filter's output relative to that in noise that is white in time.

        Band-passed noise has all of its power where the spikes are: at 30 kHz more than twice as much as white noise.

        Parameters
        ----------
        whitened : numpy.ndarray of float32, shape (channels, frames)
            The filter in standard deviations of noise that is independent on its channels, such as
            ``W @ (waveform / sigma)`` with W of :meth:`root`.
        """
        n_frames = whitened.shape[1]
        n_lags = min(len(self.in_time), n_frames)
        products = whitened.astype(np.float64).T @ whitened
        power = float(np.trace(products))
        sums = [float(np.trace(products, offset=lag)) for lag in range(1, n_lags)]
        variance = power + 2 * float(np.dot(self.in_time[1:n_lags], sums))
        return max(variance / power, SMALLEST_GAIN) if power > 0 else 1.0

    def whiten(self, waveform: Floats, channels: Ints) -> Floats:
        """Filter of a template: its inner product with traces in microvolts is in units of the noise.

        `waveform` is (channels, frames) in microvolts; the result too, in 1 / microvolt.
        """
        sigma = self.sigma[channels][:, None]
        return (np.linalg.solve(self.covariance(channels), waveform / sigma) / sigma).astype(np.float32)

    def root(self, channels: Ints) -> Floats:
        """Symmetric W such that W @ (traces / sigma) has unit, uncorrelated noise; kept for the next call."""
        key = tuple(int(channel) for channel in channels)
        if key not in self._roots:
            values, vectors = np.linalg.eigh(self.covariance(channels))
            root = ((vectors / np.sqrt(values)) @ vectors.T).astype(np.float32)
            check_numbers(f"the whitening of channels {list(key)}", root)
            self._roots[key] = root
        return self._roots[key]


def check_numbers(what: str, values: NDArray[Any], least: float = -np.inf) -> None:
    """Raise a RuntimeError where `values` are not finite, or below `least`: no recording is to blame for that.

    Units whose numbers make no sense would be lost without a word, or take every sample for a spike.
    """
    wrong = ~(np.isfinite(values) & (values >= least))
    if wrong.any():
        raise RuntimeError(
            f"RT-Sort's model went wrong: of {what}, {int(wrong.sum())} of {values.size} values are not finite or "
            f"below {least:g}. This is an error of spikelab and not of the recording; please report it with "
            "this message and the log of the sort"
        )


def measure_noise(traces: Traces) -> Noise:
    """Noise of a recording from up to 20 stretches spread evenly over it; samples of spikes are left out."""
    length = max(1, round(STRETCH_S * traces.sampling_frequency))
    starts = np.unique(np.linspace(0, max(0, traces.n_frames - length), N_STRETCHES).astype(int))
    some = np.unique(np.linspace(0, traces.n_channels - 1, N_IN_TIME).astype(int))
    samples, parts = [], []
    for start in starts:  # of a stretch, no more is held than what is looked at
        part = traces.read(int(start), min(int(start) + length, traces.n_frames))
        samples.append(part[::EVERY].copy())
        parts.append(part[:, some])
    sizes = np.abs(np.concatenate(samples))
    sigma = np.maximum(np.median(sizes, axis=0, overwrite_input=True) / MAD_TO_STD, SMALLEST_SIGMA_UV)
    sigma = sigma.astype(np.float32)
    del sizes
    covariance = quiet_covariance(samples, sigma)
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-6))
    correlation = covariance / np.outer(scale, scale)
    correlation = within_reach(correlation, traces.locations)
    np.fill_diagonal(correlation, 1)
    return Noise(
        sigma, correlation.astype(np.float32), correlation_in_time(parts, sigma[some], traces.sampling_frequency)
    )


def quiet_covariance(samples: list[Floats], sigma: Floats) -> NDArray[np.float64]:
    """Mean products of every two channels in units of `sigma`, over samples at which neither is in a spike.

    Parameters
    ----------
    samples : list of numpy.ndarray of float32, each (samples, channels)
    sigma : numpy.ndarray of float32, shape (channels,)
    """
    products, counts = np.zeros((2, len(sigma), len(sigma)))
    for part in samples:
        scaled = part / sigma
        quiet = np.abs(scaled) < QUIET
        values = np.where(quiet, scaled, 0).astype(np.float64)
        products += values.T @ values
        both = quiet.astype(np.float32)
        counts += both.T @ both  # whole numbers: float32 is exact
    means: NDArray[np.float64] = products / np.maximum(counts, 1)
    return means


def within_reach(correlation: NDArray[np.float64], locations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Let the correlation fade to zero with distance, unless the noise reaches further.

    What a few samples show between channels that are far apart is mostly chance. Noise that many channels share (of
    the mains, a pump, a bad ground, movement) is not: without the correlation of distant channels that of near ones
    makes no sense, and filters cannot tell the noise from a spike.

    Parameters
    ----------
    correlation : numpy.ndarray, shape (channels, channels)
    locations : numpy.ndarray, shape (channels, 2)
        In um.
    """
    apart = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    fading = correlation * np.clip(1 - apart / REACH_UM, 0, 1) ** 0.25
    near = (apart <= 2 * REACH_UM) & ~np.eye(len(apart), dtype=bool)
    lost = float(np.mean((correlation - fading)[near])) if near.any() else 0.0
    far = near & (apart > REACH_UM / 2)
    shared = float(np.mean(correlation[far])) if far.any() else 0.0
    if shared > WIDELY_SHARED:
        logger.warning(
            "RT-Sort: channels %g to %g um apart share much of their noise (mean correlation %.2f). It is taken into "
            'account; common_reference="median" removes most of it beforehand',
            REACH_UM / 2, 2 * REACH_UM, shared,
        )  # fmt: skip
    return correlation if lost > FAR_REACHING else fading


def correlation_in_time(parts: list[Floats], sigma: Floats, sampling_frequency: float) -> Floats:
    """Mean correlation of a channel with itself, by lag from 0 on; samples of spikes are left out.

    Parameters
    ----------
    parts : list of numpy.ndarray of float32, each (frames, channels)
        A few channels tell.
    sigma : numpy.ndarray of float32, shape (channels,)
        Of the same.
    sampling_frequency : float
    """
    n_lags = 1 + round(LAG_MS * sampling_frequency / 1000)
    products, counts = np.zeros(n_lags), np.zeros(n_lags)
    for part in parts:
        scaled = part / sigma
        quiet = np.abs(scaled) < QUIET
        n = scipy.fft.next_fast_len(len(part) + n_lags, real=True)
        for values, sums in ((np.where(quiet, scaled, 0), products), (quiet.astype(np.float32), counts)):
            power = np.abs(scipy.fft.rfft(values, n, axis=0)) ** 2
            sums[:] += scipy.fft.irfft(power.sum(axis=1), n)[:n_lags]
    means = products / np.maximum(counts, 1)
    correlation = means / means[0] if means[0] > 0 else np.eye(1, n_lags)[0]
    return np.asarray(correlation, dtype=np.float32)
