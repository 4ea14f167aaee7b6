"""Periods of artefact: what at least half of the electrodes see at once and no neuron can make.

Stimulation, a saturated amplifier, movement. The traces are silent (zero) in such a period, for all that reads them. It
begins where half of the electrodes exceed a level that depends on how far a neuron reaches in this array, or a lower
one where the size on them is nearly alike, and ends when they have been calm for 2 ms. Frames are looked at in order
and no frame ahead is needed, so that a stream and a whole recording have the same periods. Filters ring before an
artefact too: spikes that little before it do not count.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri

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
    """

    channels: IntArray
    sigma: FloatArray
    least: int
    onset: float
    calm: float
    low: float
    flat: float
    lead_ms: float


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
    return Levels(channels, noise.sigma[channels], least, onset, calm, low, flat, lead_ms)


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
        self._noisier = 1.0
        self._sizes: list[FloatArray] = []
        self._past: list[float] = []

    def push(self, some: FloatArray) -> NDArray[np.bool_]:
        """Take the next frames of :attr:`Levels.channels`; find which belong to an artefact."""
        levels, silent = self.levels, np.zeros(len(some), dtype=np.bool_)
        done = 0
        while done < len(some):
            filled = self._n_frames % self._block
            part = some[done : done + self._block - filled]
            limits = np.outer([levels.calm, levels.low, levels.onset], levels.sigma * self._noisier).astype(np.float32)
            self._state = watch(
                part, limits, levels.least, levels.flat, self._fading, self._hold, self._state, silent[done:]
            )
            self._sizes.append(np.asarray(np.abs(part[-filled % EVERY :: EVERY]) / levels.sigma, dtype=np.float32))
            self._n_frames += len(part)
            done += len(part)
            if filled + len(part) == self._block:
                self._follow()
        return silent

    def _follow(self) -> None:
        """Set the levels of the next block by the blocks that have ended."""
        self._past = [*self._past, float(np.median(np.concatenate(self._sizes)))][-N_PAST:]
        self._sizes = []
        self._noisier = max(1.0, float(np.median(self._past)) / MAD_TO_STD)


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


def find_artefacts(traces: Traces, levels: Levels) -> IntArray:
    """Find the periods of artefact of a recording, rows of first frame and end, ascending."""
    watcher = ArtefactWatch(levels, traces.sampling_frequency)
    step = frames_at_a_time(traces.n_channels)
    found = []
    for begin, stop in traces.pieces():
        watcher.reset()
        of_piece = [np.zeros((0, 2), dtype=np.int64)]
        for start in range(begin, stop, step):
            silent = watcher.push(traces.read_some(start, min(start + step, stop), levels.channels))
            of_piece.append(start + periods_of(silent))
        found.append(joined_periods(np.concatenate(of_piece)))
    return np.concatenate(found)


def joined_periods(periods: IntArray) -> IntArray:
    """Join the periods, ascending, of which one begins where another ends."""
    starts, ends = periods.T
    return np.column_stack([np.setdiff1d(starts, ends), np.setdiff1d(ends, starts)])


def periods_of(silent: NDArray[np.bool_]) -> IntArray:
    """List the runs of true values, rows of first index and end."""
    edges = np.diff(silent, prepend=False, append=False)
    return np.flatnonzero(edges).astype(np.int64).reshape(-1, 2)


def silenced(traces: Traces, noise: Noise) -> Traces:
    """Silence the periods of artefact, and say how many there are."""
    levels = levels_of(noise, np.asarray(traces.locations, dtype=np.float64))
    periods = find_artefacts(traces, levels)
    if len(periods) == 0:
        return traces
    seconds = float(np.diff(periods, axis=1).sum() / traces.sampling_frequency)
    share = seconds / traces.duration_s
    logger.log(
        logging.WARNING if share > MOST_SILENT else logging.INFO,
        "RT-Sort: artefacts, larger on half of the electrodes at once than any spike, are silent for all steps; "
        "periods: %d, %.2f s (%.2g %% of the time)",
        len(periods), seconds, 100 * share,
    )  # fmt: skip
    return traces.silent_in(periods, lead_frames(levels, traces.sampling_frequency))


class Silencer:
    """Silences the artefacts in frames that come in pieces, for the stream."""

    def __init__(self, levels: Levels, sampling_frequency: float) -> None:
        self._watch = ArtefactWatch(levels, sampling_frequency)
        self.lead = lead_frames(levels, sampling_frequency)
        self._n_past = round(PAST_MS * sampling_frequency / 1000)
        self.reset()

    def reset(self) -> None:
        """Forget all frames and spikes; the next frame is frame 0."""
        self._watch.reset()
        self._silent = np.zeros(0, dtype=np.bool_)  # of the frames that spikes are still to be decided in
        self._end = 0
        self._undecided = np.empty(0, dtype=SPIKE)

    def push(self, traces_uv: FloatArray) -> FloatArray:
        """Take the next frames (frames, channels) and silence them, in place."""
        silent = self._watch.push(traces_uv[:, self._watch.levels.channels])
        traces_uv[silent] = 0
        self._silent = np.concatenate([self._silent[-self._n_past :], silent])
        self._end += len(silent)
        return traces_uv

    def clear(self, spikes: Spikes, *, finished: bool = False) -> Spikes:
        """Leave out spikes in and just before an artefact; keep those that one may yet follow, unless `finished`."""
        both = np.concatenate([self._undecided, spikes])
        known = both["frame"] + self.lead < (np.inf if finished else self._end)
        self._undecided, both = both[~known], both[known]
        periods = periods_of(self._silent) + self._end - len(self._silent)
        return both[~in_artefact(both["frame"], periods, self.lead)]
