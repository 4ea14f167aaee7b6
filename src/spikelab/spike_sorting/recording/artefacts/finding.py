"""Find periods of artefact in the stored traces: where many channels at once jump, or stand still on a rail.

::

    search     every half millisecond of the recording: is there a jump, or do channels stand still?
    inspect    every frame around what was found: from which frame to which are channels blind?
    settle     bridged and filtered, is the rest as quiet as the recording is elsewhere? If not, the period is longer

At most 64 channels are looked at, and as many of each group of channels: what is on one shank alone is on a minority of
all. Groups of a few channels are not looked at alone, as half of them may see one large spike. The slow return of an
amplifier from its rail is no artefact as long as what the bridge leaves of it is no larger than the noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from spikelab.spike_sorting.data.dead_time import in_dead_time, union, widened
from spikelab.spike_sorting.recording.artefacts.bridging import BridgedRecording
from spikelab.spike_sorting.recording.parts import evenly_spaced
from spikelab.system.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import IntArray

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]
    Traces = NDArray[np.float32]

Filter: TypeAlias = "Callable[[BaseRecording], BaseRecording]"

MOST_CHANNELS = 64  # that are looked at, spread evenly
SEARCH_MS = 0.5
CHUNK_S = 1.0
# Blocks in which the usual changes from frame to frame are measured, and the noise after the filter.
N_BLOCKS, BLOCK_S = 20, 0.1
# Half of the channels jump by so many deviations of their usual changes. Of fewer than 16 channels one large spike may
# be on half.
JUMP, JUMP_OF_FEW, FEW_CHANNELS = 25.0, 100.0, 16
# A channel stands still where it changes by less than this share of what is usual, for so long.
STILL_SHARE, STILL_MS = 0.2, 2.0
JOINED_MS = 3.0  # between two periods, in which no spike is seen whole
PAD_FRAMES = 2  # of an edge, which takes a frame or two
# After the filter the size on the median channel is below a level, that quiet blocks hardly exceed, over so long.
QUIET_QUANTILE, QUIET_FACTOR, SMOOTHED_MS = 0.999, 1.15, 0.5
LOOKED_BEFORE_MS, LOOKED_AFTER_MS = 15.0, 60.0  # of a period, to see whether it is longer
GAP_MS = 1.0  # louder frames so near to a period belong to it
N_ROUNDS = 4
LEAST_QUIET = 0.1  # share of the blocks that is away from periods, if noise is to be measured there alone
# Periods, and channels, that are looked at after the filter; the other periods are like most of them.
MOST_SETTLED, MOST_OF_SOME = 32, 0.9


@dataclass(frozen=True)
class Usual:
    """How channels change where nothing disturbs them; deviations, shape (channels,)."""

    channels: IntArray
    between: FloatArray  # from one frame of the search to the next
    bent: FloatArray  # of second differences from frame to frame
    change: FloatArray  # mean size of differences from frame to frame

    @property
    def jump(self) -> float:
        """Deviations that are a jump."""
        return JUMP if len(self.channels) >= FEW_CHANNELS else JUMP_OF_FEW

    @property
    def least(self) -> int:
        """Number of channels at once that are an artefact."""
        return (len(self.channels) + 1) // 2


def find_artefacts(recording: BaseRecording, band_pass: Filter, groups: Iterable[IntArray] = ()) -> list[IntArray]:
    """Find the periods of artefact in each segment of a recording as it is stored; `band_pass` is the filter to come.

    Each is of shape (periods, 2), first frame and end, ascending and apart: those of all channels, and of each group.
    """
    every = np.arange(recording.get_num_channels())
    large = [group for group in groups if FEW_CHANNELS <= len(group) < len(every)]
    sets = [every, *large]
    by_segment = [_in_segment(recording, segment, sets) for segment in range(recording.get_num_segments())]
    found: list[IntArray] = [union() for _ in by_segment]
    for number, channels in enumerate(sets):
        own = [_beyond(of_sets[number], known) for of_sets, known in zip(by_segment, found, strict=True)]
        if any(map(len, own)):
            settled = settle(recording.select_channels(recording.channel_ids[channels]), own, band_pass)
            found = [union(known, new) for known, new in zip(found, settled, strict=True)]
    return found


def _beyond(periods: IntArray, known: IntArray) -> IntArray:
    """Return those of the periods that are not inside of known ones."""
    if not len(known):
        return periods
    before = np.searchsorted(known[:, 0], periods[:, 0], side="right") - 1
    inside = (before >= 0) & (periods[:, 1] <= known[before, 1])
    outside: IntArray = periods[~inside]
    return outside


def _in_segment(recording: BaseRecording, segment: int, sets: Sequence[IntArray]) -> list[IntArray]:
    """Find the periods in which half of each set of channels is blind."""
    usual = [_usual(recording, segment, channels) for channels in sets]
    suspect = iter(_suspect(recording, segment, [own for own in usual if own is not None]))
    return [union() if own is None else _looked_at(recording, segment, own, next(suspect)) for own in usual]


def _looked_at(recording: BaseRecording, segment: int, usual: Usual, suspect: IntArray) -> IntArray:
    """Look at every frame around what was found."""
    fs, n_frames = float(recording.get_sampling_frequency()), int(recording.get_num_samples(segment))
    margin, longest, blind = round(2 * STILL_MS * fs / 1000), round(CHUNK_S * fs), [union()]
    for start, end in np.clip(suspect, 0, n_frames).tolist():
        for first in range(start, end, longest):
            begin, stop = max(first - margin, 0), min(first + longest + margin, end + margin, n_frames)
            traces = _read(recording, segment, begin, stop, usual.channels)
            blind.append(begin + _runs(_blind(traces, usual, fs)))
    every = widened(np.concatenate(blind), PAD_FRAMES, PAD_FRAMES)
    return joined(every, round(JOINED_MS * fs / 1000), n_frames)


def joined(periods: IntArray, gap: int, n_frames: int) -> IntArray:
    """Join periods that are so near to each other; keep them within the frames there are."""
    near = widened(periods, 0, gap)
    near[:, 1] -= gap
    return np.clip(near, 0, n_frames)


def _runs(flags: BoolArray) -> IntArray:
    """List the runs of true values, rows of first index and end."""
    return np.flatnonzero(np.diff(flags, prepend=False, append=False)).astype(np.int64).reshape(-1, 2)


def _read(recording: BaseRecording, segment: int, start: int, end: int, channels: IntArray, step: int = 1) -> Traces:
    """Read every `step`-th frame of some channels; what is between is not copied."""
    traces = recording.segments[segment].get_traces(start, end, slice(None))[::step][:, channels]
    read: Traces = traces.astype(np.float32)
    return read if traces.dtype.kind in "iu" else np.nan_to_num(read, posinf=0.0, neginf=0.0)


def _usual(recording: BaseRecording, segment: int, channels: IntArray) -> Usual | None:
    """Measure usual changes in blocks all over a segment; None where there is too little, or no channel changes."""
    fs, n_frames = float(recording.get_sampling_frequency()), int(recording.get_num_samples(segment))
    block, step = round(BLOCK_S * fs), max(1, round(SEARCH_MS * fs / 1000))
    if n_frames < block:
        return None
    some = channels[np.unique(np.linspace(0, len(channels) - 1, 2 * MOST_CHANNELS).astype(int))]
    blocks = [_read(recording, segment, a, a + block, some) for a in evenly_spaced(n_frames, block, N_BLOCKS)]
    change = np.mean([np.abs(np.diff(traces, axis=0)).mean(axis=0) for traces in blocks], axis=0)
    alive = np.flatnonzero(change > 0)
    if not len(alive):
        return None
    alive = alive[np.unique(np.linspace(0, len(alive) - 1, MOST_CHANNELS).astype(int))]
    blocks = [traces[:, alive] for traces in blocks]
    # Of blocks the median: an artefact may fill some.
    between = np.median([_deviation(traces[step:] - traces[:-step]) for traces in blocks], axis=0)
    bent = np.median([_deviation(np.diff(traces, n=2, axis=0)) for traces in blocks], axis=0)
    changes = np.median([np.abs(np.diff(traces, axis=0)).mean(axis=0) for traces in blocks], axis=0)
    return Usual(some[alive], *(np.maximum(values, 1e-9) for values in (between, bent, changes)))


def _deviation(values: Traces) -> Traces:
    """Measure the deviation of a channel; no less than half of its mean size, as counts may be coarse."""
    sizes = np.abs(values)
    return np.asarray(np.maximum(np.median(sizes, axis=0) / 0.6745, sizes.mean(axis=0) / 2), dtype=np.float32)


def _suspect(recording: BaseRecording, segment: int, usual: Sequence[Usual]) -> list[IntArray]:
    """Return the periods around those frames of the search at which many channels of each set jump or stand still."""
    fs, n_frames = float(recording.get_sampling_frequency()), int(recording.get_num_samples(segment))
    step, n_still = max(1, round(SEARCH_MS * fs / 1000)), max(1, round(STILL_MS / SEARCH_MS))
    length = step * round(CHUNK_S * fs / step)
    watched = np.unique(np.concatenate([own.channels for own in usual])) if usual else np.empty(0, dtype=np.int64)
    searches = [_Search.of(own, watched) for own in usual]
    for start in range(0, n_frames if searches else 0, length):
        rows = _read(recording, segment, start, min(start + length, n_frames), watched, step)
        for each in searches:
            each.take(rows, n_still)
    return [widened(step * _runs(np.concatenate(each.flags)), step * (n_still + 1), step) for each in searches]


@dataclass
class _Search:
    """The search in one set of channels, chunk after chunk: rows that are flagged, and what goes on to the next."""

    columns: IntArray  # of what is read
    least: int
    jump: Traces
    quiet: Traces
    last: Traces
    still: IntArray
    flags: list[BoolArray]

    @classmethod
    def of(cls, usual: Usual, watched: IntArray) -> _Search:
        jump, quiet = ((share * usual.between).astype(np.float32) for share in (usual.jump, STILL_SHARE))
        n = len(usual.channels)
        last, still = np.full(n, np.nan, dtype=np.float32), np.zeros(n, dtype=np.int64)
        columns = np.searchsorted(watched, usual.channels)
        return cls(columns, usual.least, jump, quiet, last, still, [np.zeros(0, dtype=np.bool_)])

    def take(self, rows: Traces, n_still: int) -> None:
        """Take the next rows of the search."""
        self.flags.append(np.zeros(len(rows), dtype=np.bool_))
        own = np.ascontiguousarray(rows[:, self.columns])
        search(own, self.last, self.still, self.jump, self.quiet, self.least, n_still, self.flags[-1])


@compiled
def search(
    rows: Traces, last: Traces, still: IntArray, jump: Traces, quiet: Traces, least: int, n_still: int, flags: BoolArray
) -> None:
    """Flag rows (frames, channels) at which `least` channels jump, or have not moved for `n_still` rows.

    `jump` and `quiet` are the changes, by channel, that are one and that are none; `last` is the row before, and
    `still` counts the rows without a change: both are kept up.
    """
    for frame in range(rows.shape[0]):
        n_jumping, n_standing = 0, 0
        for channel in range(rows.shape[1]):
            change = abs(rows[frame, channel] - last[channel])
            n_jumping += change > jump[channel]
            still[channel] = still[channel] + 1 if change < quiet[channel] else 0
            n_standing += still[channel] >= n_still
            last[channel] = rows[frame, channel]
        flags[frame] = n_jumping >= least or n_standing >= least


def _blind(traces: Traces, usual: Usual, sampling_frequency: float) -> BoolArray:
    """Tell in which frames so many channels jump, or stand still for a while, that these are an artefact."""
    blind = np.zeros(len(traces), dtype=bool)
    changes = np.diff(traces, axis=0)
    bent = np.abs(np.diff(changes, axis=0)) / usual.bent
    blind[1:-1] = (bent > usual.jump).sum(axis=1) >= usual.least
    still = _still(np.abs(changes) / usual.change, round(STILL_MS / 2 * sampling_frequency / 1000))
    blind |= still.sum(axis=1) >= usual.least
    return blind


def _still(sizes: NDArray[np.floating], length: int) -> BoolArray:
    """Tell which channels stand still at which frames: `sizes` of changes are small, at least `length` in a row."""
    small = sliding_window_view(sizes < STILL_SHARE, max(1, min(length, len(sizes))), axis=0)
    windows: BoolArray = np.logical_and.reduce(small, axis=2)
    still = np.zeros((len(sizes) + 1, sizes.shape[1]), dtype=bool)
    for shift in range(len(still) - len(windows) + 1):
        still[shift : shift + len(windows)] |= windows
    return still


# ---- what is left after the filter -----------------------------------------------------------------------------------


def settle(recording: BaseRecording, found: list[IntArray], band_pass: Filter) -> list[IntArray]:
    """Extend periods by the frames beside them in which the filtered traces are louder than elsewhere."""
    channels = np.unique(np.linspace(0, recording.get_num_channels() - 1, MOST_SETTLED).astype(int))
    watched = recording.select_channels(recording.channel_ids[channels])
    loudness = Loudness.of(watched, found, band_pass)
    for _ in range(N_ROUNDS):
        bridged = band_pass(BridgedRecording(watched, [periods.tolist() for periods in found]))
        longer = [loudness.extended(bridged, segment, periods) for segment, periods in enumerate(found)]
        if all(np.array_equal(new, old) for new, old in zip(longer, found, strict=True)):
            break
        found = longer
    return found


@dataclass(frozen=True)
class Loudness:
    """How loud filtered traces are: the size in deviations on the median channel."""

    sigma: FloatArray
    level: float  # that quiet frames do not exceed
    fs: float

    @classmethod
    def of(cls, recording: BaseRecording, found: list[IntArray], band_pass: Filter) -> Loudness:
        """Measure noise and level in blocks of the longest segment, away from the periods that were found."""
        fs, segment = (
            float(recording.get_sampling_frequency()),
            int(np.argmax([s.get_num_samples() for s in recording.segments])),
        )
        bridged = band_pass(BridgedRecording(recording, [periods.tolist() for periods in found]))
        before, after = (round(ms * fs / 1000) for ms in (LOOKED_BEFORE_MS, LOOKED_AFTER_MS))
        near, block = widened(found[segment], before, after), round(BLOCK_S * fs)
        n_frames = int(recording.get_num_samples(segment))
        starts = evenly_spaced(n_frames, block, N_BLOCKS)
        blocks = [bridged.get_traces(segment, start, min(start + block, n_frames)) for start in starts]
        far = [
            ~in_dead_time(start + np.arange(len(traces)), near) for start, traces in zip(starts, blocks, strict=True)
        ]
        if np.mean(np.concatenate(far)) < LEAST_QUIET:  # periods are everywhere
            far = [~in_dead_time(s + np.arange(len(t)), found[segment]) for s, t in zip(starts, blocks, strict=True)]
        sizes = np.concatenate([np.abs(traces[own]) for traces, own in zip(blocks, far, strict=True)])
        sigma = np.maximum(np.median(sizes, axis=0) / 0.6745, 1e-6)
        loudness = cls(sigma, np.inf, fs)
        quiet = np.concatenate([loudness.measure(traces)[own] for traces, own in zip(blocks, far, strict=True)])
        level = QUIET_FACTOR * float(np.quantile(quiet, QUIET_QUANTILE))
        return replace(loudness, level=level)

    def measure(self, traces: NDArray[np.float32]) -> FloatArray:
        """Return the loudness of each frame, the mean over half a millisecond."""
        length = max(1, round(SMOOTHED_MS * self.fs / 1000))
        middle = traces.shape[1] // 2
        loud = np.partition(np.abs(traces) / self.sigma, middle, axis=1)[:, middle]
        return np.convolve(loud, np.full(length, 1 / length), mode="same")

    def extended(self, filtered: BaseRecording, segment: int, periods: IntArray) -> IntArray:
        """Extend the periods of a segment; of very many some, and the others by as much as most of these."""
        n_frames = int(filtered.get_num_samples(segment))
        if not len(periods):
            return periods
        some = np.unique(np.linspace(0, len(periods) - 1, MOST_SETTLED).astype(int))
        limits = np.array([0, *periods.reshape(-1), n_frames])
        by = np.array([self._reach(filtered, segment, limits[2 * k : 2 * k + 4]) for k in some]).reshape(-1, 2)
        if len(periods) > len(by):
            by = np.tile(np.quantile(by, MOST_OF_SOME, axis=0).round().astype(np.int64), (len(periods), 1))
        return joined(periods + by * [-1, 1], round(JOINED_MS * self.fs / 1000), n_frames)

    def _reach(self, filtered: BaseRecording, segment: int, limits: IntArray) -> tuple[int, int]:
        """Count the louder frames before and after a period; `limits` are its edges and those of what is beside it."""
        last_end, start, end, next_start = limits.tolist()
        first = max(start - round(LOOKED_BEFORE_MS * self.fs / 1000), last_end)
        last = min(end + round(LOOKED_AFTER_MS * self.fs / 1000), next_start)
        loud = self.measure(filtered.get_traces(segment, first, last)) > self.level
        return self._connected(loud[: start - first][::-1]), self._connected(loud[end - first :])

    def _connected(self, loud: BoolArray) -> int:
        """Count the frames up to the last loud one before a gap."""
        frames = np.flatnonzero(loud)
        gaps = np.diff(frames, prepend=-1) > round(GAP_MS * self.fs / 1000)
        own = frames[: int(gaps.argmax())] if gaps.any() else frames
        return int(own[-1]) + 1 if len(own) else 0
