"""Steps that a frame takes across its channels: interpolation, spatial high-pass, common reference.

They follow the band-pass, on whole frames in place, so that nothing is copied and nothing depends on how a recording is
cut into chunks. Channels are taken by depth, whatever their order in the file, so that the sums are the same too.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from spikeinterface.preprocessing.basepreprocessor import BasePreprocessor, BasePreprocessorSegment

from spikelab.spike_sorting.filters import _across_kernels as kernels
from spikelab.spike_sorting.filters._across_kernels import LANES, LARGEST
from spikelab.spike_sorting.filters.steps import Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]

# The spatial high-pass is a Butterworth filter of order 3 there and back, which removes waves longer than 200 channels:
# that of the International Brain Laboratory (2022, doi:10.6084/m9.figshare.19705522) and of SpikeInterface.
HIGHPASS_ORDER = 3
HIGHPASS_CORNER = 0.01  # over the highest frequency, that of a wave of two channels
# Waves of which the filter takes less than this share away are left alone.
NEGLIGIBLE = 1e-3
# A channel counts in the smooth part of its frame up to so many standard deviations of the frame's noise: so a spike
# takes nothing away from the channels around it.
FARTHEST_SD = 3.0
MAD_OF_SD = 0.6745


class AcrossChannelsRecording(BasePreprocessor):  # type: ignore[misc]  # SpikeInterface has no types
    """Traces in float32 after steps across the channels of each frame; `steps` are the fields of :class:`Steps`."""

    def __init__(self, recording: BaseRecording, steps: dict[str, Any]) -> None:
        super().__init__(recording, dtype="float32")
        prepared = _Prepared(Steps(**steps))
        for parent in recording.segments:
            self.add_recording_segment(_Segment(parent, prepared))
        self._kwargs = {"recording": recording, "steps": steps}

    @classmethod
    def of(cls, recording: BaseRecording, steps: Steps) -> AcrossChannelsRecording:
        """Apply `steps` to each frame of a recording, lazily."""
        return cls(recording, asdict(steps))


def highpass_waves(n_channels: int) -> Floats:
    """Return the waves along a column that the high-pass removes, shape (waves, channels), each as large as it removes.

    A column that is mirrored at its ends, again and again, is a sum of cosines, on which the filter acts one by one.
    """
    frequencies = np.arange(n_channels) / n_channels
    warped = np.tan(np.pi / 2 * frequencies) / np.tan(np.pi / 2 * HIGHPASS_CORNER)
    removed = 1 / (1 + warped ** (2 * HIGHPASS_ORDER))
    numbers = np.flatnonzero(removed >= NEGLIGIBLE)
    waves = np.cos(np.pi * numbers[:, None] * (np.arange(n_channels) + 0.5) / n_channels)
    waves *= np.sqrt(removed[numbers] / (waves**2).sum(axis=1))[:, None]
    return waves.astype(np.float32)


class _Segment(BasePreprocessorSegment):  # type: ignore[misc]
    def __init__(self, parent: Any, prepared: _Prepared) -> None:
        super().__init__(parent)
        self._prepared = prepared

    def get_traces(self, start_frame: Any, end_frame: Any, channel_indices: Any) -> NDArray[np.float32]:
        """Read the parent's traces of all channels, and take the steps in place."""
        read = self.parent_recording_segment.get_traces(start_frame, end_frame, slice(None))
        traces = np.array(read, dtype=np.float32, order="C", copy=None if _is_own(read) else True)
        self._prepared.apply(traces)
        return traces if channel_indices is None else traces[:, channel_indices]


def _is_own(traces: NDArray[Any]) -> bool:
    """Return whether the array was made for this read: it owns its memory, so nobody else sees a change."""
    return traces.flags.owndata and traces.flags.writeable


class _Prepared:
    """The steps with their channels as rows of a block, in which channels lie in the order of the sums."""

    def __init__(self, steps: Steps) -> None:
        self._order = np.asarray(steps.order, dtype=np.int64)
        row_of = np.argsort(self._order)
        self._interpolated = row_of[np.asarray(steps.interpolated, dtype=np.int64)]
        weights = np.asarray(steps.weights, dtype=np.float32).reshape(-1, len(self._order))
        self._weights = np.ascontiguousarray(weights[:, self._order])
        self._columns = [_Column(np.sort(row_of[column])) for column in steps.columns]
        sources = [_in_fours(np.sort(row_of[group]), len(self._order)) for _, group in steps.references]
        self._n_references = len(sources)
        self._sources = _one_after_another([rows for rows, _ in sources])
        self._n_sources = np.array([n_rows for _, n_rows in sources], dtype=np.int64)
        self._referred = _one_after_another([np.sort(row_of[channels]) for channels, _ in steps.references])
        self._median = steps.operator == "median"

    def apply(self, traces: Floats) -> None:
        """Take the steps with all frames, in place."""
        n_channels = len(self._order)
        block = np.zeros((n_channels, LANES), dtype=np.float32)
        keys = np.full((n_channels + 1, LANES), LARGEST, dtype=np.int32)
        references = np.zeros((self._n_references, LANES), dtype=np.float32)
        for start in range(0, len(traces), LANES):
            kernels.to_block(traces, start, self._order, block)
            if len(self._interpolated):
                kernels.interpolate(block, self._interpolated, self._weights)
            for column in self._columns:
                column.high_pass(block, keys)
            if self._n_references:
                self._subtract_references(block, keys, references)
            kernels.from_block(block, start, self._order, traces)

    def _subtract_references(self, block: Floats, keys: NDArray[np.int32], references: Floats) -> None:
        """Compute all references before any is subtracted: a channel may be part of several."""
        if self._median:
            kernels.to_keys(block, references[0], keys, False)
            kernels.medians_of_each(keys, *self._sources, self._n_sources, references)
        else:
            kernels.averages_of_each(block, *self._sources, self._n_sources, references)
        kernels.subtract_from_each(block, *self._referred, references)


class _Column:
    """The high-pass of one column, whose rows follow each other in the block."""

    def __init__(self, rows: Ints) -> None:
        self._rows = slice(int(rows[0]), int(rows[-1]) + 1)
        assert np.array_equal(rows, np.arange(self._rows.start, self._rows.stop))
        waves = highpass_waves(len(rows))
        self._waves = np.pad(waves, [(0, -size % 4) for size in waves.shape])
        self._own, self._n_rows = _in_fours(np.arange(len(rows)), len(rows))

    def high_pass(self, block: Floats, keys: NDArray[np.int32]) -> None:
        """Subtract the median of each frame, then what varies slowly along the column."""
        own = block[self._rows]
        # The row of keys after those of this column belongs to none, and is the largest.
        keys = keys[: self._n_rows + 1]
        keys[self._n_rows] = LARGEST
        kernels.high_pass(own, keys, self._own, self._n_rows, self._waves, np.float32(FARTHEST_SD / MAD_OF_SD))


def _in_fours(rows: Sequence[int] | Ints, unused: int) -> tuple[Ints, int]:
    """Fill up to a multiple of four with the row `unused`; the second result is how many there were."""
    filled = np.full(len(rows) + -len(rows) % 4, unused, dtype=np.int64)
    filled[: len(rows)] = rows
    return filled, len(rows)


def _one_after_another(groups: list[Ints]) -> tuple[Ints, Ints]:
    """Join groups of rows: where each begins, with the end of the last, and the rows."""
    starts = np.cumsum([0, *map(len, groups)], dtype=np.int64)
    return starts, np.concatenate(groups) if groups else np.zeros(0, dtype=np.int64)
