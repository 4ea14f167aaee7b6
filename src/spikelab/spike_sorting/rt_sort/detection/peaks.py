"""Find spikes on single channels: a cheap gate leaves few candidates, and the network judges those.

A candidate is a trough (or a crest without a trough of its size nearby) that is larger than `gate_sigma` times the
noise. The network is evaluated on the window around it, with the candidate always at the same place: what comes out
depends on the traces around it and on nothing else. Results are therefore the same, to the bit, for any chunk size and
number of threads, and so for a stream.

::

    detect_peaks(traces_uv, model, sampling_frequency)      a whole recording in memory -> peaks
    PeakDetector(model, sampling_frequency).detect(...)     a buffer with the sigmas at hand
    PeakStream(detector, n_channels)                        .feed(frames) -> peaks, in any chunk size

Peaks are a structured array of `PEAK`, in the order of frames, then channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.rt_sort.detection._candidates import find_extremes, gather
from spikelab.spike_sorting.rt_sort.detection.network import LANES, Network, run_layers
from spikelab.spike_sorting.rt_sort.detection.noise import (
    BLOCK_MS,
    SigmaStream,
    block_frames,
    block_sigmas,
    sigma_track,
)
from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Peaks = NDArray[np.void]

# `amplitude` is the value at `frame` in units of sigma, negative for a trough; `shift` is where the vertex of a
# parabola through the extreme and its neighbours lies, in frames from `frame`, within +/-0.5.
PEAK = np.dtype([("frame", "<i8"), ("channel", "<i4"), ("logit", "<f4"), ("amplitude", "<f4"), ("shift", "<f4")])

GATE_SIGMA = 2.5
GATE_SIGMA_POSITIVE = 3.5
MIN_PROBABILITY = 0.05
RADIUS_MS = 0.1  # an extreme is one within this
LONE_MS = 1.0  # a crest counts if no trough of its size is within this
# A model serves rates within this of its own as they are; what is further off is interpolated.
RATE_TOLERANCE = 0.05
CHUNK_VALUES = 2**19  # of traces at a time: 2 MB, so that the windows are gathered from the cache
SEGMENT_BLOCKS = 40  # what one thread takes at a time: 2 s


class PeakDetector:
    """The gate and the network, for buffers of traces.

    Parameters
    ----------
    model : ModelSpikeSorter
    sampling_frequency : float
        Of the traces, in Hz.
    gate_sigma, gate_sigma_positive : float
        Smallest size of troughs and of crests that the network is shown, in sigma; infinity for none.
    min_probability : float
        Smallest probability of the peaks that are returned.
    inference_scaling : float
        What a model that wants microvolts is fed is multiplied by; see :func:`inference_scaling`.
    device : str
        Where the network runs: "cpu", or a device of PyTorch.
    chunk_values : int
        Values of the traces whose windows are on the device at a time; the result does not depend on it.
    block_ms : float
        Length of the blocks in which the noise is measured; see :mod:`noise`.
    n_jobs : int
        Threads on the CPU; the result does not depend on them.

    Attributes
    ----------
    before, after : int
        Frames that :meth:`detect` needs before and after a frame to decide about it.
    """

    def __init__(
        self,
        model: ModelSpikeSorter,
        sampling_frequency: float,
        *,
        gate_sigma: float = GATE_SIGMA,
        gate_sigma_positive: float = GATE_SIGMA_POSITIVE,
        min_probability: float = MIN_PROBABILITY,
        inference_scaling: float = 1.0,
        device: str = "cpu",
        chunk_values: int = CHUNK_VALUES,
        block_ms: float = BLOCK_MS,
        n_jobs: int = 1,
    ) -> None:
        self.model = model
        self.pool = ThreadPool(n_jobs) if n_jobs > 1 and device == "cpu" else None
        self.chunk_values = chunk_values
        self.sampling_frequency = sampling_frequency
        self.n_block_frames = block_frames(sampling_frequency, block_ms)
        self.gate_sigma, self.gate_sigma_positive = np.float32(gate_sigma), np.float32(gate_sigma_positive)
        self.min_logit = logit(min_probability)
        self.radius = max(1, round(RADIUS_MS * sampling_frequency / 1000))
        self.reach = max(1, round(LONE_MS * sampling_frequency / 1000))
        self._scale = np.float32(model.input_scale * (1.0 if model.normalises_by_sigma else inference_scaling))
        self._network = Network(model, device)
        self._offsets, self._taps = window_taps(model, sampling_frequency)
        margin = max(self.radius, self.reach)
        self.before = max(margin, -int(self._offsets.min()))
        self.after = max(margin, int(self._offsets.max()) + self._taps.shape[1] - 1)

    def detect(self, traces_uv: Floats, start: int, first: int, last: int, sigma: Floats, first_block: int) -> Peaks:
        """Peaks of a buffer.

        Parameters
        ----------
        traces_uv : numpy.ndarray of float32, shape (frames, channels)
            In C order, band-passed.
        start : int
            Frame, since the start of the recording, of the first row.
        first, last : int
            Peaks at frames first to last (excluded) are returned. The buffer reaches from ``first - before`` to
            ``last + after``.
        sigma : numpy.ndarray of float32, shape (blocks, channels)
            What applies in the blocks of :mod:`noise`, from block `first_block` on.

        Raises
        ------
        ValueError
            The buffer is too short.
        """
        if last <= first:
            return np.empty(0, dtype=PEAK)
        if first - self.before < start or last + self.after > start + len(traces_uv):
            raise ValueError(
                f"Peaks from {first} to {last} need frames {first - self.before} to {last + self.after}, but the "
                f"buffer holds {start} to {start + len(traces_uv)}"
            )
        step = max(1, self.chunk_values // max(1, traces_uv.shape[1]))
        ranges: list[tuple[int, int, Floats]] = []
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

    def _detect_rows(self, traces: Floats, first: int, last: int, sigma: Floats) -> Peaks:
        frames, channels = self.candidates(traces, first, last, sigma)
        logits = self._judge(traces, frames, channels, sigma)
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

    def candidates(self, traces: Floats, first: int, last: int, sigma: Floats) -> tuple[Ints, Ints]:
        """Row and channel of what passes the gate in rows `first` to `last`, which share one `sigma` per channel."""
        lowest, highest = -self.gate_sigma * sigma, self.gate_sigma_positive * sigma
        room = 256 + (last - first) * len(sigma) // 64
        while True:
            frames, channels = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
            n_found = find_extremes(traces, lowest, highest, (first, last), self.radius, self.reach, frames, channels)
            if n_found <= room:
                return frames[:n_found], channels[:n_found]
            room = n_found

    def _judge(self, traces: Floats, frames: Ints, channels: Ints, sigma: Floats) -> Floats:
        """The logit of each candidate."""
        network, n_samples = self._network, self.model.receptive_field
        plan, scratch = network.plan(n_samples), network.scratch(n_samples)
        logits = np.empty(len(frames), dtype=np.float32)
        at_a_time = LANES if network.device == "cpu" else max(1, len(frames))
        for first in range(0, len(frames), at_a_time):
            chosen = slice(first, first + at_a_time)
            windows = self.windows(traces, frames[chosen], channels[chosen], sigma)
            if network.device == "cpu":
                scratch[0, :n_samples] = 0
                scratch[0, :n_samples, : windows.shape[1]] = windows
                result = run_layers(scratch[0], scratch[1], network.flat, plan)
                logits[chosen] = result[0, : windows.shape[1]]
            else:
                logits[chosen] = network.logits(windows.T)[:, 0]
        return logits

    def windows(self, traces: Floats, frames: Ints, channels: Ints, sigma: Floats) -> Floats:
        """What the network is shown of each candidate, shape (samples, candidates)."""
        ours = self.model.normalises_by_sigma
        scale = self._scale / sigma[channels] if ours else np.full(len(frames), self._scale)
        windows = np.empty((len(self._offsets), len(frames)), dtype=np.float32)
        gather(traces, frames, channels, scale, self._offsets, self._taps, windows)
        if not ours:
            windows -= np.median(windows, axis=0)
        return windows


def detect_peaks(
    traces_uv: Floats,
    model: ModelSpikeSorter,
    sampling_frequency: float,
    *,
    n_jobs: int = 1,
    **options: Any,
) -> Peaks:
    """Spikes on single channels of a recording in memory.

    There are none in its first 50 ms, where the noise is not known yet, nor within :attr:`PeakDetector.after` frames
    of its end, where a stream could not tell either.

    Parameters
    ----------
    traces_uv : numpy.ndarray of float32, shape (frames, channels)
        In C order, band-passed, in microvolts.
    model, sampling_frequency, **options
        Those of :class:`PeakDetector`.
    n_jobs : int
        Threads; the result does not depend on it.

    Returns
    -------
    numpy.ndarray of `PEAK`
    """
    detector = PeakDetector(model, sampling_frequency, **options)
    size = SEGMENT_BLOCKS * detector.n_block_frames
    starts = range(0, max(len(traces_uv), 1), size)
    end = max(0, len(traces_uv) - detector.after)
    with ThreadPool(max(1, n_jobs)) as pool:
        segments = pool.map(
            lambda start: block_sigmas(traces_uv[start : start + size], detector.n_block_frames), starts
        )
        sigma = sigma_track(np.concatenate(list(segments)))

        def detect(start: int) -> Peaks:
            first = max(start, detector.n_block_frames, detector.before)
            return detector.detect(traces_uv, 0, first, min(start + size, end), sigma, 0)

        return np.concatenate(list(pool.map(detect, starts)))


class PeakStream:
    """:func:`detect_peaks` for frames that come in pieces, with the same result.

    Parameters
    ----------
    detector : PeakDetector
    n_channels : int

    Attributes
    ----------
    detector : PeakDetector
    n_frames : int
        Frames fed so far.
    sigma : numpy.ndarray of float32, shape (blocks, channels)
        What applies in block :attr:`first_block` and those after it, as far back as peaks are still to come.
    first_block : int
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

    def feed(self, traces_uv: Floats) -> Peaks:
        """Take the next frames; return the peaks whose context is complete by now.

        Parameters
        ----------
        traces_uv : numpy.ndarray of float32, shape (frames, channels)

        Returns
        -------
        numpy.ndarray of `PEAK`
            Frames count from the first one that was ever fed.
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


def logit(probability: float) -> float:
    """Inverse of the logistic function, with infinities at 0 and 1."""
    with np.errstate(divide="ignore"):
        return float(np.log(probability) - np.log1p(-probability))


def inference_scaling(traces_uv: Floats, numerator: float | None) -> float:
    """What a published model wants its input multiplied by: `numerator` over the median IQR of the channels.

    Parameters
    ----------
    traces_uv : numpy.ndarray of float32, shape (frames, channels)
        The first 50 ms.
    numerator : float or None
        None for no scaling.
    """
    if numerator is None or not traces_uv.size:
        return 1.0
    low, high = np.quantile(traces_uv, (0.25, 0.75), axis=0)
    spread = float(np.median(high - low))
    return numerator / spread if spread > 0 else 1.0


def window_taps(model: ModelSpikeSorter, sampling_frequency: float) -> tuple[Ints, Floats]:
    """Where the samples of a window come from: first frame of each, from the candidate, and the weights from there on.

    Shapes (samples,) and (samples, taps). At rates other than the model's, a cubic through four frames.
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
