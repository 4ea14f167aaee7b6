"""Assign spikes to templates: a matched filter per template, and matching pursuit (peeling).

Every template has a filter, its whitened self, of low rank: spatial patterns times temporal components. The filter's
output gives the energy that a spike of any size at any frame would explain. The spike that explains most is taken, its
contribution to every output is subtracted (by a table of the cross-talk of filters and templates, so that the traces
are not touched), and so on until no spike explains more than the threshold. Overlapping spikes come out as several.

Time is cut into blocks, counted from the first frame. The spikes of a block are final when the frames after it that a
spike of the block reaches are known, with the spikes of earlier blocks already subtracted. Nothing depends on how the
frames arrive, so a stream and a whole recording give the same spikes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.rt_sort._window_kernels import take_rows
from spikelab.spike_sorting.rt_sort.matching._peeling_kernels import filter_tiles, peel, within_tolerances
from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.matching.templates import TemplateBank
    from spikelab.spike_sorting.rt_sort.sequences import Tolerances

    Spikes = NDArray[np.void]

NEVER = -(2**62)
IN_UV = np.float32(1)  # factor of traces that are in microvolts already
BLOCK_MS = 2.5
TILE = 600  # frames that are filtered at a time
ROOM = 256  # spikes of one call that there is room for at first
REACH_MS = 0.5  # an electrode's peak is looked for so far from where it is expected

# `shift` is the time of the spike relative to `frame`, in frames within +/-0.5; `energy` what it explains, in squared
# standard deviations of the whitened noise.
SPIKE = np.dtype([("frame", "<i8"), ("template", "<i4"), ("scale", "<f4"), ("shift", "<f4"), ("energy", "<f4")])


def later(spikes: Spikes, n_frames: int) -> Spikes:
    """Move spikes so many frames later, in place."""
    spikes["frame"] += n_frames
    return spikes


class Matcher:
    """Finds the spikes of a bank of templates in frames that come in pieces, with `n_jobs` threads."""

    def __init__(self, bank: TemplateBank, n_jobs: int = 1) -> None:
        self.bank = bank
        self.block = max(1, round(BLOCK_MS * bank.sampling_frequency / 1000))
        # As far as a spike of the block reaches: no output beyond is touched, and none needs to be known.
        self.look_ahead = bank.n_frames - 1
        self.reach = round(REACH_MS * bank.sampling_frequency / 1000)
        self._pool = ThreadPool(n_jobs) if n_jobs > 1 else None
        # Only these are put in rows, of which filters take pieces.
        self._channels, places = np.unique(bank.filters.channels, return_inverse=True)
        self._filters = bank.filters._replace(channels=places.reshape(bank.filters.channels.shape))
        self._parts = [part for part in np.array_split(np.arange(bank.n_templates), n_jobs) if len(part)]
        # A window that ends in the first frames begins before them: outputs are known from so many frames before on.
        self._ahead = -(-bank.n_after // self.block) * self.block
        self._first = -(self._ahead + self.look_ahead + 1)  # first frame of the first block
        self.reset()

    @property
    def latency_frames(self) -> int:
        """Frames after a spike by which it has been reported, at most."""
        return self.block + self.look_ahead + self.bank.n_after

    def reset(self) -> None:
        """Forget all frames; the next one is frame 0."""
        bank = self.bank
        # Silence before the first frame, as `finish` puts it after the last.
        self._rows = np.zeros((len(self._channels), self._ahead + bank.n_before), dtype=np.float32)
        self._waiting: list[tuple[NDArray[Any], np.float32]] = []  # frames that are not in rows yet
        self._n_waiting = self._rows.shape[1]
        self._next = self._first  # first frame that no spike has been decided at
        self._known = np.zeros((bank.n_templates, self.look_ahead + 2), dtype=np.float32)  # outputs from before it on
        self._latest = np.full(bank.n_templates, NEVER, dtype=np.int64)  # spike of each template
        self._past: list[FloatArray] = []  # traces that spikes are checked against
        self._past_start = 0
        self._recent = np.empty(0, dtype=SPIKE)  # spikes that may overlap those to come

    def push(self, traces: NDArray[Any], scale: np.float32 = IN_UV) -> Spikes:
        """Take the next frames (frames, channels), in microvolts once times `scale`; return what is decided by now.

        Spikes are in the order of blocks; frames count from the first one after the last reset.
        """
        bank, block = self.bank, self.block
        self._waiting.append((traces, scale))
        self._n_waiting += len(traces)
        if bank.tolerances is not None:
            self._past.append(np.asarray(traces * scale, dtype=np.float32))
        n_new = max(0, (self._n_waiting - bank.n_before - bank.n_after) // block) * block
        if n_new == 0:
            return np.empty(0, dtype=SPIKE)
        n_known = self._known.shape[1]
        outputs = np.empty((bank.n_templates, n_known + n_new), dtype=np.float32)
        outputs[:, :n_known] = self._known
        rows = self._in_rows()
        self._filter(rows, outputs[:, n_known:])
        self._rows, self._n_waiting = rows[:, n_new:].copy(), rows.shape[1] - n_new
        spikes = self._peel(outputs, n_new // block)
        if bank.tolerances is not None:
            spikes = self._check(spikes, bank.tolerances)
        return spikes[spikes["frame"] >= 0]

    def _in_rows(self) -> FloatArray:
        """Put the frames that wait into rows of channels, behind those that are there."""
        rows = np.empty((len(self._channels), self._n_waiting), dtype=np.float32)
        first = self._rows.shape[1]
        rows[:, :first] = self._rows
        for traces, scale in self._waiting:
            take_rows(traces, self._channels, scale, first, rows)
            first += len(traces)
        self._waiting = []
        return rows

    def finish(self) -> Spikes:
        """Say that there are no more frames; return the last spikes and reset."""
        end = self._next + self.look_ahead + 1 + self._n_waiting - self.bank.n_before
        silence = np.zeros((self.latency_frames, self.bank.n_channels), dtype=np.float32)
        spikes = self.push(silence)
        self.reset()
        return spikes[spikes["frame"] < end]

    def _filter(self, traces: FloatArray, outputs: FloatArray) -> None:
        def run(part: IntArray) -> None:
            filter_tiles(traces, self._filters, TILE, part, outputs)

        if self._pool is None:
            run(np.arange(self.bank.n_templates))
        else:
            list(self._pool.map(run, self._parts))

    def _peel(self, outputs: FloatArray, n_blocks: int) -> Spikes:
        start = self._next - 1
        latest = self._latest - start
        room = np.empty(ROOM, dtype=SPIKE)
        spikes: Spikes = peel(outputs, self.block, n_blocks, self.bank.limits, self.bank.crosstalk, latest, room)
        self._latest = latest + start
        self._known = outputs[:, n_blocks * self.block :].copy()
        self._next += n_blocks * self.block
        return later(spikes, start)

    def _check(self, spikes: Spikes, tolerances: Tolerances) -> Spikes:
        """Leave out spikes that are too far from their sequence on single electrodes."""
        bank, past = self.bank, np.concatenate(self._past)
        both = np.concatenate([self._recent, spikes])
        if len(spikes):
            blocks = (both["frame"] - self._first) // self.block
            rows = later(both.copy(), -self._past_start)
            n_recent = len(self._recent)
            spikes = spikes[
                within_tolerances(past, rows, n_recent, blocks, bank.templates, tolerances, bank.sigma, self.reach)
            ]
        horizon = self._next - 2 * (bank.n_frames + self.reach)
        self._recent = both[both["frame"] >= horizon]
        n_old = max(0, min(horizon - self._past_start, len(past)))
        self._past = [past[n_old:].copy()]
        self._past_start += n_old
        return spikes
