"""Noise between spikes: its size on each channel, and its correlation between channels and in time."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.fft

from spikelab.spikedata._windows import MAD_TO_STD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.traces import Traces


logger = logging.getLogger(__name__)
N_SEGMENTS, SEGMENT_S = 20, 0.25
EVERY = 5  # samples that are used: neighbours are nearly the same
QUIET = 4.0  # in sigma; samples beyond are spikes
REACH_UM = 150.0  # noise of channels further apart is independent, unless it is measured to be shared
FAR_REACHING = 0.05  # mean correlation that the taper with distance may take away
WIDELY_SHARED = 0.2  # mean correlation of far channels above which the log says so
RIDGE = 0.02
SMALLEST_SIGMA_UV = 0.5
LAG_MS = 2.5  # of the autocorrelation
N_AUTOCORRELATED = 64  # channels that it is measured on
SMALLEST_GAIN = 0.1


class Spectrum(NamedTuple):
    """A covariance, (channels, channels), with its eigenvalues and eigenvectors."""

    covariance: NDArray[np.float64]
    values: NDArray[np.float64]
    vectors: NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Gaussian noise, correlated between channels and in time.

    Attributes
    ----------
    sigma : numpy.ndarray of float32, shape (channels,)
        Standard deviation (MAD / 0.6745) in microvolts.
    correlation : numpy.ndarray of float32, shape (channels, channels)
    autocorrelation : numpy.ndarray of float32, shape (lags,)
        Of a channel, by lag in frames from 0 on; the same for all channels.
    """

    sigma: FloatArray
    correlation: FloatArray
    autocorrelation: FloatArray
    _matrices: dict[bytes, FloatArray] = field(default_factory=dict, repr=False, compare=False)
    _latest: dict[bytes, Spectrum] = field(default_factory=dict, repr=False, compare=False)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return len(self.sigma)

    def __post_init__(self) -> None:
        for name in ("sigma", "correlation", "autocorrelation"):
            check_numbers(f"the noise ({name})", getattr(self, name))

    def __reduce__(self) -> tuple[Any, ...]:
        # Whitening matrices are left out: what is saved does not depend on what was sorted before.
        return Noise, (self.sigma, self.correlation, self.autocorrelation)

    def spectrum(self, channels: IntArray) -> Spectrum:
        """Compute the correlation of some channels with a ridge, below which no eigenvalue is; the latest is kept.

        Correlations that are measured pair by pair, or fade with distance, need not be positive definite.
        """
        key = np.asarray(channels, dtype=np.int64).tobytes()
        known = self._latest.get(key)
        if known is None:
            matrix = self.correlation[np.ix_(channels, channels)].astype(np.float64) + RIDGE * np.eye(len(channels))
            values, vectors = np.linalg.eigh(matrix)
            if values[0] < RIDGE:
                values = np.maximum(values, RIDGE)
                matrix = (vectors * values) @ vectors.T
            known = Spectrum(matrix, values, vectors)
            self._latest.clear()
            self._latest[key] = known
        return known

    def covariance(self, channels: IntArray) -> NDArray[np.float64]:
        """Compute the correlation of some channels as :meth:`spectrum` does, (channels, channels)."""
        return self.spectrum(channels).covariance

    def gain(self, whitened: FloatArray) -> float:
        """Variance of a filter's output relative to that in noise that is white in time.

        Band-passed noise has all of its power where the spikes are: at 30 kHz more than twice as much as white noise.
        `whitened`, shape (channels, frames), is ``W @ (waveform / sigma)`` with the W of :meth:`whitening`.
        """
        n_frames = whitened.shape[1]
        n_lags = min(len(self.autocorrelation), n_frames)
        products = whitened.astype(np.float64).T @ whitened
        rows, columns = np.triu_indices(n_frames)
        sums = np.bincount(columns - rows, weights=products[rows, columns], minlength=1)
        power = float(sums[0])
        variance = power + 2 * float(np.dot(self.autocorrelation[1:n_lags], sums[1:n_lags]))
        return max(variance / power, SMALLEST_GAIN) if power > 0 else 1.0

    def whiten(self, waveform: FloatArray, channels: IntArray) -> FloatArray:
        """Make the matched filter, (channels, frames) in 1 / uV, of a template (channels, frames) in uV.

        Its inner product with traces in microvolts is in units of the noise.
        """
        sigma = self.sigma[channels][:, None]
        return (np.linalg.solve(self.covariance(channels), waveform / sigma) / sigma).astype(np.float32)

    def whitening(self, channels: IntArray) -> FloatArray:
        """Whitening matrix W (ZCA): W @ (traces / sigma) has unit, uncorrelated noise; cached."""
        key = np.asarray(channels, dtype=np.int64).tobytes()
        known = self._matrices.get(key)
        if known is None:
            _, values, vectors = self.spectrum(channels)
            known = ((vectors / np.sqrt(values)) @ vectors.T).astype(np.float32)
            check_numbers(f"the whitening of channels {channels.tolist()}", known)
            self._matrices[key] = known
        return known


def check_numbers(what: str, values: NDArray[Any], least: float = -np.inf) -> None:
    """Raise a RuntimeError where `values` are not finite, or below `least`: an error of the model, not of the data."""
    wrong = ~(np.isfinite(values) & (values >= least))
    if wrong.any():
        raise RuntimeError(
            f"RT-Sort's model went wrong: of {what}, {int(wrong.sum())} of {values.size} values are not finite or "
            f"below {least:g}. This is an error of spikelab and not of the recording; please report it with "
            "this message and the log of the sort"
        )


def measure_noise(traces: Traces) -> Noise:
    """Measure the noise in up to 20 segments spread evenly over a recording; samples of spikes are left out."""
    length = max(1, round(SEGMENT_S * traces.sampling_frequency))
    starts = np.unique(np.linspace(0, max(0, traces.n_frames - length), N_SEGMENTS).astype(int))
    some = np.unique(np.linspace(0, traces.n_channels - 1, N_AUTOCORRELATED).astype(int))
    samples, parts = [], []
    for start in starts:
        part = traces.read(int(start), min(int(start) + length, traces.n_frames))
        some_frames = part[::EVERY]
        samples.append(some_frames[some_frames.any(axis=1)])  # where all channels are 0, nothing was recorded
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
    autocorrelation = autocorrelation_of(parts, sigma[some], traces.sampling_frequency)
    return Noise(sigma, correlation.astype(np.float32), autocorrelation)


def quiet_covariance(samples: list[FloatArray], sigma: FloatArray) -> NDArray[np.float64]:
    """Average the products of every two channels, in units of `sigma`, over samples at which neither has a spike."""
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
    """Taper the correlation to zero with distance (um), unless the noise is shared further.

    In few samples the correlation of far channels is mostly chance. Noise that many channels share (mains, a pump, a
    bad ground, movement) is not: without it in the model, filters cannot separate this noise from spikes.
    """
    apart = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    fading = correlation * np.clip(1 - apart / REACH_UM, 0, 1) ** 0.25
    near = (apart <= 2 * REACH_UM) & ~np.eye(len(apart), dtype=bool)
    lost = float(np.mean((correlation - fading)[near])) if near.any() else 0.0
    far = near & (apart > REACH_UM / 2)
    shared = float(np.mean(correlation[far])) if far.any() else 0.0
    if shared > WIDELY_SHARED:
        logger.info(
            "RT-Sort: channels %g to %g um apart share much of their noise (mean correlation %.2f). It is taken into "
            'account; common_reference="median" removes most of it beforehand',
            REACH_UM / 2, 2 * REACH_UM, shared,
        )  # fmt: skip
    return correlation if lost > FAR_REACHING else fading


def autocorrelation_of(parts: list[FloatArray], sigma: FloatArray, sampling_frequency: float) -> FloatArray:
    """Average the autocorrelation over channels, by lag from 0 on; samples of spikes are left out."""
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
