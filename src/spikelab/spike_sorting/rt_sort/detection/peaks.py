"""Detect spikes on single channels: threshold candidates, of which the network keeps the spikes.

A candidate is a local extreme beyond a multiple of the noise of its channel. Nothing depends on chunks or threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.rt_sort.detection._candidates import find_extremes, gather, judge
from spikelab.spike_sorting.rt_sort.detection.network import Network
from spikelab.spike_sorting.rt_sort.detection.noise import BLOCK_MS, SigmaStream, block_frames
from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter

    Peaks = NDArray[np.void]

LINE = 16  # channels whose windows are gathered together, since they share lines of the cache
# `amplitude` is the value at `frame` in units of sigma; `shift` is where the vertex of a parabola through the extreme
# and its neighbours lies, in frames from `frame`, within +/-0.5.
PEAK = np.dtype([("frame", "<i8"), ("channel", "<i4"), ("logit", "<f4"), ("amplitude", "<f4"), ("shift", "<f4")])
SIGHTING = np.dtype([("frame", "<i8"), ("channel", "<i4"), ("logit", "<f4")])

THRESHOLD_SIGMA = 2.5
THRESHOLD_SIGMA_POSITIVE = 3.5
MIN_PROBABILITY = 0.05
RADIUS_MS = 0.1  # an extreme is one within this
LONE_MS = 1.0  # a positive peak counts if no negative peak of its size is within this
RATE_TOLERANCE = 0.05  # between the rate of the model and of the traces; beyond it windows are interpolated
CHUNK_VALUES = 2**19  # of traces at a time: 2 MB, so that the windows are gathered from the cache


class PeakDetector:
    """Detects peaks in buffers of traces, by thresholds and the network. No result depends on chunks or threads.

    Parameters
    ----------
    model : ModelSpikeSorter
    sampling_frequency : float
        Of the traces, in Hz.
    threshold_sigma, threshold_sigma_positive : float
        Smallest size of negative and of positive candidates, in sigma; infinity for none.
    min_probability : float
        Smallest probability of the peaks that are returned.
    inference_scaling : float
        Factor for the input of a model that takes microvolts; see :func:`inference_scaling`.
    device : str
        "cpu", or a device of PyTorch, for the network.
    chunk_values : int
        Values of the traces whose windows are on the device at a time.
    block_ms : float
        Length of the blocks in which the noise is measured; see :mod:`.noise`.
    n_jobs : int
        Threads on the CPU.

    Attributes
    ----------
    before, after : int
        Frames that :meth:`detect` needs before and after a frame.
    """

    def __init__(
        self, model: ModelSpikeSorter, sampling_frequency: float, *, threshold_sigma: float = THRESHOLD_SIGMA,
        threshold_sigma_positive: float = THRESHOLD_SIGMA_POSITIVE, min_probability: float = MIN_PROBABILITY,
        inference_scaling: float = 1.0, device: str = "cpu", chunk_values: int = CHUNK_VALUES,
        block_ms: float = BLOCK_MS, n_jobs: int = 1,
    ) -> None:  # fmt: skip
        self.model = model
        self.pool = ThreadPool(n_jobs) if n_jobs > 1 and device == "cpu" else None
        self.chunk_values = chunk_values
        self.sampling_frequency = sampling_frequency
        self.n_block_frames = block_frames(sampling_frequency, block_ms)
        self.threshold_sigma, self.threshold_sigma_positive = (
            np.float32(threshold_sigma),
            np.float32(threshold_sigma_positive),
        )
        self.min_logit = logit(min_probability)
        self.radius = max(1, round(RADIUS_MS * sampling_frequency / 1000))
        self.reach = max(1, round(LONE_MS * sampling_frequency / 1000))
        self._scale = np.float32(model.input_scale * (1.0 if model.normalises_by_sigma else inference_scaling))
        self._network = Network(model, device)
        self._offsets, self._taps = window_taps(model, sampling_frequency)
        margin = max(self.radius, self.reach)
        self.before = max(margin, -int(self._offsets.min()))
        self.after = max(margin, int(self._offsets.max()) + self._taps.shape[1] - 1)

    def detect(
        self, traces_uv: FloatArray, start: int, first: int, last: int, sigma: FloatArray, first_block: int
    ) -> Peaks:
        """Detect the peaks at frames [first, last) of a buffer (frames, channels), whose first row is frame `start`.

        The buffer reaches from ``first - before`` to ``last + after``; ValueError where it does not. `sigma` is the
        noise of the blocks of :mod:`.noise`, from block `first_block` on, shape (blocks, channels).
        """
        if last <= first:
            return np.empty(0, dtype=PEAK)
        if first - self.before < start or last + self.after > start + len(traces_uv):
            raise ValueError(
                f"Peaks from {first} to {last} need frames {first - self.before} to {last + self.after}, but the "
                f"buffer holds {start} to {start + len(traces_uv)}"
            )
        step = max(1, self.chunk_values // max(1, traces_uv.shape[1]))
        ranges: list[tuple[int, int, FloatArray]] = []
        for block in range(first // self.n_block_frames, (last - 1) // self.n_block_frames + 1):
            low = max(first, block * self.n_block_frames)
            high = min(last, (block + 1) * self.n_block_frames)
            row = sigma[block - first_block]
            begins = range(low - start, high - start, step)
            ranges += [(begin, min(begin + step, high - start), row) for begin in begins]
        run = map if self.pool is None else self.pool.map
        peaks: Peaks = np.concatenate(list(run(lambda part: self._detect_rows(traces_uv, *part), ranges)))
        peaks["frame"] += start
        return peaks

    def _detect_rows(self, traces: FloatArray, first: int, last: int, sigma: FloatArray) -> Peaks:
        frames, channels = self.candidates(traces, first, last, sigma)
        logits = self._logits(traces, frames, channels, sigma)
        chosen = logits >= self.min_logit
        frames, channels = frames[chosen], channels[chosen]
        peaks = np.empty(len(frames), dtype=PEAK)
        peaks["frame"], peaks["channel"], peaks["logit"] = frames, channels, logits[chosen]
        value = traces[frames, channels]
        before, after = traces[frames - 1, channels], traces[frames + 1, channels]
        peaks["amplitude"] = value / sigma[channels]
        curvature = before - 2 * value + after
        peaks["shift"] = (before - after) / (2 * np.where(curvature == 0, np.inf, curvature))
        return peaks

    def candidates(self, traces: FloatArray, first: int, last: int, sigma: FloatArray) -> tuple[IntArray, IntArray]:
        """List the rows and channels of candidates in rows `first` to `last`, which share one `sigma` per channel."""
        lowest, highest = -self.threshold_sigma * sigma, self.threshold_sigma_positive * sigma
        room = 256 + (last - first) * len(sigma) // 64
        while True:
            frames, channels = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
            n_found = find_extremes(traces, lowest, highest, (first, last), self.radius, self.reach, frames, channels)
            if n_found <= room:
                return frames[:n_found], channels[:n_found]
            room = n_found

    def _logits(self, traces: FloatArray, frames: IntArray, channels: IntArray, sigma: FloatArray) -> FloatArray:
        """Run the network on each candidate."""
        network, n_samples = self._network, self.model.receptive_field
        if network.device != "cpu" or not self.model.normalises_by_sigma:
            return network.logits(self.windows(traces, frames, channels, sigma).T)[:, 0]
        scratch, logits = network.scratch(n_samples), np.empty(len(frames), dtype=np.float32)
        order = np.argsort((channels // LINE).astype(np.uint16), kind="stable")
        judge(
            traces, frames, channels, order, self._scale / sigma, self._offsets, self._taps, (scratch[0], scratch[1]),
            network.flat, network.plan(n_samples), logits,
        )  # fmt: skip
        return logits

    def windows(self, traces: FloatArray, frames: IntArray, channels: IntArray, sigma: FloatArray) -> FloatArray:
        """Gather the input of the network for each candidate, shape (samples, candidates)."""
        by_sigma = self.model.normalises_by_sigma
        scale = self._scale / sigma[channels] if by_sigma else np.full(len(frames), self._scale)
        windows = np.empty((len(self._offsets), len(frames)), dtype=np.float32)
        gather(traces, frames, channels, scale, self._offsets, self._taps, windows)
        if not by_sigma:
            windows -= np.median(windows, axis=0)
        return windows


def detect_peaks(traces_uv: FloatArray, model: ModelSpikeSorter, sampling_frequency: float, **options: Any) -> Peaks:
    """Detect the peaks of a recording in memory, with the options of :class:`PeakDetector`.

    There are none in its first 50 ms, where the noise is not known yet, nor within :attr:`PeakDetector.after` frames
    of its end, where a stream could not decide either.
    """
    detector = PeakDetector(model, sampling_frequency, **options)
    return PeakStream(detector, traces_uv.shape[1]).feed(traces_uv)


class PeakStream:
    """Detects peaks in frames that come in pieces.

    `n_frames` were fed so far; `sigma` is the noise from block `first_block` on, as far back as peaks are to come.
    """

    def __init__(self, detector: PeakDetector, n_channels: int) -> None:
        self.detector = detector
        self._noise = SigmaStream(n_channels, detector.n_block_frames)
        self._buffer = np.empty((0, n_channels), dtype=np.float32)
        self._start = 0
        self._next = max(detector.n_block_frames, detector.before)
        self.sigma = np.empty((0, n_channels), dtype=np.float32)
        self.first_block = 0
        self.n_frames = 0

    def feed(self, traces_uv: FloatArray) -> Peaks:
        """Take the next frames, shape (frames, channels); return the peaks whose context is complete by now.

        Frames of peaks count from the first one that was ever fed.
        """
        self.sigma = np.concatenate([self.sigma, self._noise.feed(traces_uv)])
        self._buffer = np.concatenate([self._buffer, traces_uv])
        self.n_frames += len(traces_uv)
        first, last = self._next, max(self._next, self.n_frames - self.detector.after)
        peaks = self.detector.detect(self._buffer, self._start, first, last, self.sigma, self.first_block)
        self._next = last
        self._forget()
        return peaks

    def _forget(self) -> None:
        start = max(self._start, min(self._next - self.detector.before, self.n_frames))
        self._buffer = self._buffer[start - self._start :]
        self._start = start
        known = self.first_block + len(self.sigma)
        block = max(self.first_block, min(self._next // self.detector.n_block_frames, known))
        self.sigma = self.sigma[block - self.first_block :]
        self.first_block = block


def sightings(peaks: Peaks) -> Peaks:
    """Copy when, where and how surely a spike was seen: all that is asked of peaks once events are chosen."""
    kept = np.empty(len(peaks), dtype=SIGHTING)
    for name in kept.dtype.names or ():
        kept[name] = peaks[name]
    return kept


def logit(probability: float) -> float:
    """Invert the logistic function, with infinities at 0 and 1."""
    with np.errstate(divide="ignore"):
        return float(np.log(probability) - np.log1p(-probability))


def inference_scaling(traces_uv: FloatArray, numerator: float | None) -> float:
    """Compute the input factor of a published model: `numerator` (None: 1) over the median IQR of the channels.

    `traces_uv`, shape (frames, channels), are the first 50 ms.
    """
    if numerator is None or not traces_uv.size:
        return 1.0
    low, high = np.quantile(traces_uv, (0.25, 0.75), axis=0)
    spread = float(np.median(high - low))
    return numerator / spread if spread > 0 else 1.0


def window_taps(model: ModelSpikeSorter, sampling_frequency: float) -> tuple[IntArray, FloatArray]:
    """Compute how a window is made of frames: offsets (samples,) and taps (samples, taps).

    Sample s is the sum of ``taps[s, k]`` times the value `k` frames after ``frame + offsets[s]``: one tap at the rate
    of the model, four of a cubic at other rates.
    """
    ratio = sampling_frequency / model.samp_freq
    samples = np.arange(model.receptive_field) - model.buffer_front_sample
    if abs(ratio - 1) <= RATE_TOLERANCE:
        return samples.astype(np.int64), np.ones((len(samples), 1), dtype=np.float32)
    places = samples * ratio
    whole = np.floor(places)
    t = (places - whole)[:, None]
    # Catmull-Rom: passes through the frames, with the slope of their neighbours.
    taps = np.hstack(
        [-t / 2 + t**2 - t**3 / 2, 1 - 5 * t**2 / 2 + 3 * t**3 / 2, t / 2 + 2 * t**2 - 3 * t**3 / 2, (t**3 - t**2) / 2]
    )
    return whole.astype(np.int64) - 1, taps.astype(np.float32)
