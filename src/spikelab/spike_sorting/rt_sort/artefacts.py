"""Periods of artefact: what at least half of the electrodes, or a few of them, see at once and no neuron can make.

Stimulation, a saturated amplifier, movement. The traces are silent (zero) in such a period, for all that reads them. It
begins where half of the electrodes exceed a level that depends on how far a neuron reaches in this array, or a lower
one where the size on them is nearly alike, and ends when they have been calm for 2 ms. It also begins where three
electrodes, beside a pulse, exceed what is far beyond any spike, and then ends when all that were large have been calm.
Frames are looked at in order and no frame ahead is needed, so that a stream and a whole recording have the same
periods. Filters ring before an artefact too: spikes that little before it do not count.

One or two electrodes alone, a bad contact, silence nothing. Spikes at such times are not learnt from, since one spike
in a hundred with an artefact of millivolts beside it moves a mean more than all others.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri

from spikelab.spike_sorting.data.dead_time import union, widened
from spikelab.spike_sorting.rt_sort.detection.noise import N_PAST, block_frames
from spikelab.spike_sorting.rt_sort.matching.peeling import SPIKE
from spikelab.spike_sorting.rt_sort.traces import frames_at_a_time, in_artefact
from spikelab.spike_sorting.rt_sort.whitening import SMALLEST_SIGMA_UV
from spikelab.spikedata._windows import MAD_TO_STD
from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.traces import Traces
    from spikelab.spike_sorting.rt_sort.whitening import Noise

    Spikes = NDArray[np.void]

logger = logging.getLogger(__name__)
MOST_CHANNELS = 64  # that are looked at, spread evenly
# The largest spike, and how it fades: measured footprints of 20 neurons are below 1 / (1 + (d / 30 um)^2).
LARGEST_SIGMA, FADING_UM = 100.0, 30.0
FEW_CHANNELS = 16  # of fewer, half may see spikes of two neurons: only what no spike is large enough for is an artefact
ONSET_SIGMA, CALM_SIGMA = 3.0, 2.0
MIDDLE_SIGMA = 0.7  # half of the electrodes exceed it where noise is independent
# Share of the largest size of the last milliseconds that a neuron does not reach on half of 16 electrodes or more: it
# has up to 0.25 on 8 x 8 at 17.5 um, and two or three at once somewhat more.
FLAT, RECENT_MS = 0.5, 2.0
# Standard deviations of the noise that all electrodes share which it does not exceed: never, and seldom.
SHARED_ONSET, SHARED_CALM = 6.5, 3.5
CHANCE = 1e-4  # of independent noise not to be calm in a frame
CALM_MS = 2.0  # more than half a period of a 300 Hz filter that rings
# A filter that runs backwards rings before an artefact: in 1.7 ms by a factor of e (Butterworth, 300 Hz, fifth order).
RINGING_MS = 1.7
MOST_LEAD_MS = 6.0  # a stream has to report its spikes by then
# Sigma. Three electrodes that exceed the largest spike at once see an artefact; part of it are those that exceed the
# second level meanwhile, until they are below the third.
HUGE_SIGMA, LARGE_SIGMA, SMALL_SIGMA = LARGEST_SIGMA, 30.0, 6.0
FEWEST_HUGE = 3  # electrodes at once: one or two may be bad contacts
LEAST_OF_NOISE = 0.5  # of the median noise: that of a channel that sees little is no measure of spikes
SPIKE_MS = 2.0  # what is large for longer is no spike, however huge
EVERY = 25  # frames that the level of the noise is followed on
MOST_SILENT = 0.2  # share of the recording above which a warning is logged
PAST_MS = 50.0  # longer than a stream takes to decide a spike


class Levels(NamedTuple):
    """What an artefact is.

    Attributes
    ----------
    channels : numpy.ndarray of int64
        That are looked at.
    sigma : numpy.ndarray of float32, shape (channels,)
        Their noise in microvolts.
    least : int
        Number of them that exceed a level at once.
    onset, calm : float
        In sigma: an artefact begins above the one, and is over below the other.
    low, flat : float
        One also begins above `low` (in sigma) where this share of the largest size of late is exceeded as well.
    lead_ms : float
        Time before an artefact in which spikes do not count, since the filter rings.
    every_sigma : numpy.ndarray of float32, shape (all channels,)
        Noise of all channels in microvolts, that of dead ones as that of the others.
    """

    channels: IntArray
    sigma: FloatArray
    least: int
    onset: float
    calm: float
    low: float
    flat: float
    lead_ms: float
    every_sigma: FloatArray


def levels_of(noise: Noise, locations: NDArray[np.float64]) -> Levels:
    """Choose channels and levels by the noise and the size of the array."""
    alive = np.flatnonzero(noise.sigma > SMALLEST_SIGMA_UV)
    alive = alive if len(alive) else np.arange(noise.n_channels)
    channels = alive[np.unique(np.linspace(0, len(alive) - 1, MOST_CHANNELS).astype(int))]
    n = len(channels)
    least = (n + 1) // 2
    correlation = noise.correlation[np.ix_(channels, channels)].astype(np.float64)
    mean = (correlation.sum() - np.trace(correlation)) / max(1, n * (n - 1))
    shared = math.sqrt(min(max(mean, 0.0), 1.0))
    low = max(ONSET_SIGMA, MIDDLE_SIGMA + SHARED_ONSET * shared)
    onset = max(low, largest_at_half(locations[channels]))
    flat = math.inf if n < FEW_CHANNELS else FLAT
    # So many of n channels at once exceed a level with the probability C(n, least) p^least.
    by_chance = -float(ndtri(0.5 * (CHANCE / math.comb(n, least)) ** (1 / least)))
    calm = max(CALM_SIGMA, MIDDLE_SIGMA + SHARED_CALM * shared, by_chance)
    lead_ms = min(RINGING_MS * math.log(onset), MOST_LEAD_MS)  # when the ringing was as small as the noise
    every_sigma = np.maximum(noise.sigma, LEAST_OF_NOISE * np.median(noise.sigma[alive])).astype(np.float32)
    return Levels(channels, noise.sigma[channels], least, onset, calm, low, flat, lead_ms, every_sigma)


def largest_at_half(locations: NDArray[np.float64]) -> float:
    """Size (sigma) that the spikes of a neuron in the middle of the array may have on half of its electrodes."""
    if len(locations) < FEW_CHANNELS:
        return LARGEST_SIGMA
    apart = np.linalg.norm(locations[:, None] - locations[None], axis=2)
    middle = float(np.median(apart, axis=1).min())
    return LARGEST_SIGMA / (1 + (middle / FADING_UM) ** 2)


class ArtefactWatch:
    """Finds the frames of artefacts in traces that come in pieces.

    Levels follow a recording that grows noisier: by the median size in blocks of 50 ms, of which the median of the nine
    before counts. They are never lower than where the noise was measured.
    """

    def __init__(self, levels: Levels, sampling_frequency: float) -> None:
        self.levels = levels
        self._block = block_frames(sampling_frequency)
        self._fading = math.exp(-1000 / (RECENT_MS * sampling_frequency))
        self._hold = max(1, round(CALM_MS * sampling_frequency / 1000))
        self.reset()

    def reset(self) -> None:
        """Forget all frames, as after a gap in the data."""
        self._n_frames = 0
        self._state = (0, 0.0)
        self._local = Local(self.levels, self._hold)
        self._noisier = 1.0
        self._sizes: list[FloatArray] = []
        self._past: list[float] = []

    def push(self, traces: FloatArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Take the next frames of all channels; find which belong to an artefact of half of them, and of a few."""
        levels, silent, local = self.levels, *np.zeros((2, len(traces)), dtype=np.bool_)
        some = traces[:, levels.channels]
        done = 0
        while done < len(some):
            filled = self._n_frames % self._block
            part = some[done : done + self._block - filled]
            self._local.push(traces[done : done + len(part)], self._noisier, local[done:])
            limits = np.outer([levels.calm, levels.low, levels.onset], levels.sigma * self._noisier).astype(np.float32)
            self._state = watch(
                part, limits, levels.least, levels.flat, self._fading, self._hold, self._state, silent[done:]
            )
            self._sizes.append(np.asarray(np.abs(part[-filled % EVERY :: EVERY]) / levels.sigma, dtype=np.float32))
            self._n_frames += len(part)
            done += len(part)
            if filled + len(part) == self._block:
                self._follow()
        return silent, local

    def _follow(self) -> None:
        """Set the levels of the next block by the blocks that have ended."""
        self._past = [*self._past, float(np.median(np.concatenate(self._sizes)))][-N_PAST:]
        self._sizes = []
        self._noisier = max(1.0, float(np.median(self._past)) / MAD_TO_STD)


class Local:
    """Finds the frames of artefacts of at least a few of all channels, in traces that come in pieces."""

    def __init__(self, levels: Levels, hold: int, fewest: int | None = None, end: float = SMALL_SIGMA) -> None:
        self._sigma, self._hold, self._end = levels.every_sigma, hold, end
        self._fewest = min(FEWEST_HUGE, levels.least) if fewest is None else fewest
        self._wait, self._taken = 0, np.zeros(len(self._sigma), dtype=np.bool_)

    def push(self, traces: FloatArray, noisier: float, found: NDArray[np.bool_]) -> None:
        """Take the next frames of all channels, whose noise is so many times its size; mark those of artefacts."""
        limits = np.outer([self._end, LARGE_SIGMA, HUGE_SIGMA], self._sigma * noisier).astype(np.float32)
        self._wait = watch_few(traces, limits, self._fewest, self._hold, self._wait, self._taken, found)


@compiled
def watch_few(
    traces: FloatArray, limits: FloatArray, fewest: int, hold: int, wait: int, taken: NDArray[np.bool_],
    found: NDArray[np.bool_],
) -> int:  # fmt: skip
    """Find frames of artefacts of a few channels; `limits` are small, large and huge, shape (3, channels).

    Given and returned is the number of calm frames until an artefact is over, 0 where there is none; `taken` are the
    channels that were large in it, and change.
    """
    for frame in range(traces.shape[0]):
        if wait == 0:
            n_huge = 0
            for channel in range(traces.shape[1]):
                n_huge += abs(traces[frame, channel]) > limits[2, channel]
            if n_huge < fewest:
                continue
            wait = hold
        loud = False
        for channel in range(traces.shape[1]):
            size = abs(traces[frame, channel])
            taken[channel] |= size > limits[1, channel]
            loud |= taken[channel] and size > limits[0, channel]
        wait = hold if loud else wait - 1
        found[frame] = wait > 0
        if wait == 0:
            taken[:] = False
    return wait


@compiled
def watch(
    some: FloatArray, limits: FloatArray, least: int, flat: float, fading: float, hold: int,
    state: tuple[int, float], silent: NDArray[np.bool_],
) -> tuple[int, float]:  # fmt: skip
    """Find silent frames; `limits` are calm, low and onset, shape (3, channels).

    Given and returned is the state: the calm frames until an artefact is over, 0 where there is none, and the largest
    size of late in microvolts, of which each frame leaves the share `fading`.
    """
    wait, recent = state
    for frame in range(some.shape[0]):
        limit = limits[0] if wait > 0 else limits[1]
        n_beyond = 0
        for channel in range(some.shape[1]):
            n_beyond += abs(some[frame, channel]) > limit[channel]
        recent *= fading
        if n_beyond > 0:  # smaller ones would change nothing, and most frames have no larger one
            for channel in range(some.shape[1]):
                recent = max(recent, abs(some[frame, channel]))
        if wait == 0 and n_beyond >= least:
            n_beyond = 0
            for channel in range(some.shape[1]):
                enough = min(limits[2, channel], max(limit[channel], flat * recent))
                n_beyond += abs(some[frame, channel]) > enough
        wait = hold if n_beyond >= least else max(0, wait - 1)
        silent[frame] = wait > 0
    return wait, recent


def lead_frames(levels: Levels, sampling_frequency: float) -> int:
    """Compute the number of frames before an artefact in which spikes do not count."""
    return round(levels.lead_ms * sampling_frequency / 1000)


def local_lead_frames(sampling_frequency: float) -> int:
    """Compute the same for an artefact of a few electrodes, which begins at a much higher level."""
    return round(MOST_LEAD_MS * sampling_frequency / 1000)


class Artefacts(NamedTuple):
    """Periods, each an array of first frames and ends, ascending.

    Attributes
    ----------
    wide, local : numpy.ndarray of int64, shape (periods, 2)
        Artefacts of half of the electrodes, and of a few.
    huge : numpy.ndarray of int64, shape (periods, 2)
        In which any electrode, also a single one, sees for longer than a spike lasts what no spike is large enough for.
    """

    wide: IntArray
    local: IntArray
    huge: IntArray


def find_artefacts(traces: Traces, levels: Levels) -> Artefacts:
    """Find the periods of artefact of a recording."""
    fs, every = traces.sampling_frequency, np.arange(traces.n_channels)
    watcher, step = ArtefactWatch(levels, fs), frames_at_a_time(traces.n_channels)
    found: list[list[IntArray]] = [[], [], []]
    for begin, stop in traces.pieces():
        watcher.reset()
        any_huge = Local(levels, round(SPIKE_MS * fs / 2000), 1, LARGE_SIGMA)
        masks = np.zeros((3, stop - begin), dtype=np.bool_)
        for start in range(begin, stop, step):
            part = traces.read_some(start, min(start + step, stop), every)
            here = slice(start - begin, start - begin + len(part))
            masks[0, here], masks[1, here] = watcher.push(part)
            any_huge.push(part, 1.0, masks[2, here])
        for kind, mask in zip(found, masks, strict=True):
            kind.append(begin + periods_of(mask))
    wide, local, huge = (np.concatenate(kind) for kind in found)
    return Artefacts(wide, local, huge[np.diff(huge, axis=1)[:, 0] > SPIKE_MS * fs / 1000])


def periods_of(silent: NDArray[np.bool_]) -> IntArray:
    """List the runs of true values, rows of first index and end."""
    edges = np.diff(silent, prepend=False, append=False)
    return np.flatnonzero(edges).astype(np.int64).reshape(-1, 2)


def silenced(traces: Traces, noise: Noise) -> Traces:
    """Silence the periods of artefact, and say how many there are; what is huge for long is not learnt from."""
    fs = traces.sampling_frequency
    levels = levels_of(noise, np.asarray(traces.locations, dtype=np.float64))
    wide, local, huge = find_artefacts(traces, levels)
    lead = lead_frames(levels, fs)
    if len(huge):
        around = widened(huge, round(MOST_LEAD_MS * fs / 1000), round(CALM_MS * fs / 1000))
        traces = traces.unlearnable_in(around)
    periods = union(wide, local)
    if len(periods) == 0:
        return traces
    seconds = float(np.diff(periods, axis=1).sum() / fs)
    share = seconds / traces.duration_s
    logger.log(
        logging.WARNING if share > MOST_SILENT else logging.INFO,
        "RT-Sort: artefacts, larger on half of the electrodes at once, or on a few of them, than any spike, are silent "
        "for all steps; periods: %d, %.2f s (%.2g %% of the time)",
        len(periods), seconds, 100 * share,
    )  # fmt: skip
    return traces.silent_in(wide, lead).silent_in(local, local_lead_frames(fs))


class Silencer:
    """Silences the artefacts in frames that come in pieces, for the stream."""

    def __init__(self, levels: Levels, sampling_frequency: float) -> None:
        self._watch = ArtefactWatch(levels, sampling_frequency)
        self._leads = lead_frames(levels, sampling_frequency), local_lead_frames(sampling_frequency)
        self._n_past = round(PAST_MS * sampling_frequency / 1000)
        self.reset()

    @property
    def lead(self) -> int:
        """Frames after a spike by which it is known whether it is just before an artefact."""
        return max(self._leads)

    def reset(self) -> None:
        """Forget all frames and spikes; the next frame is frame 0."""
        self._watch.reset()
        # Of the frames that spikes are still to be decided in: artefacts of half of the electrodes, and of a few.
        self._silent = np.zeros((2, 0), dtype=np.bool_)
        self._end = 0
        self._undecided = np.empty(0, dtype=SPIKE)

    def push(self, traces_uv: FloatArray) -> FloatArray:
        """Take the next frames (frames, channels) and silence them, in place."""
        silent = np.stack(self._watch.push(traces_uv))
        traces_uv[silent.any(axis=0)] = 0
        self._silent = np.concatenate([self._silent[:, -self._n_past :], silent], axis=1)
        self._end += silent.shape[1]
        return traces_uv

    def clear(self, spikes: Spikes, *, finished: bool = False) -> Spikes:
        """Leave out spikes in and just before an artefact; keep those that one may yet follow, unless `finished`."""
        both = np.concatenate([self._undecided, spikes])
        known = both["frame"] + self.lead < (np.inf if finished else self._end)
        self._undecided, both = both[~known], both[known]
        begin = self._end - self._silent.shape[1]
        for silent, lead in zip(self._silent, self._leads, strict=True):
            both = both[~in_artefact(both["frame"], periods_of(silent) + begin, lead)]
        return both
