"""Spikes of another program on the clock of the recording as it is opened here: cut, concatenated, in frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import SpikeTrains, integer_ids
from spikelab.spike_sorting.data.spike_trains import TOLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.backends.imported.units import ImportedUnits
    from spikelab.spike_sorting.data import BinaryRecording, Epoch, IntArray
    from spikelab.spike_sorting.settings.schema import RecordingConfig

CUTS_WITHIN = ("start_time_s", "rec_chunks", "rec_chunks_s")


def trains_of(units: ImportedUnits, binary: BinaryRecording, config: RecordingConfig) -> SpikeTrains:
    """Put the spikes on the clock of the recording; those of pieces that are not kept have a frame of -1.

    ValueError where it is not known which frames of the recording they are.
    """
    _require_segments(units, binary.epochs)
    _require_no_cuts(units, binary.epochs, config)
    segments = units.segments or (None,) * len(units.ids)
    frames = [_frames(units, binary, *both) for both in zip(units.times, segments, strict=True)]
    numbers = integer_ids(units.ids)
    order = np.argsort(numbers, kind="stable").tolist()
    return SpikeTrains(
        np.asarray(numbers, dtype=np.int64)[order],
        tuple(frames[row] for row in order),
        sorter_ids=tuple(units.ids[row] for row in order),
        told={name: tuple(values[row] for row in order) for name, values in _told(units).items()},
    )


def _told(units: ImportedUnits) -> dict[str, tuple[Any, ...]]:
    """Name what is said of the units; columns that say nothing are left out."""
    columns = {**units.columns, "label": units.labels}
    return {TOLD + name: values for name, values in columns.items() if any(value is not None for value in values)}


def _sources(epochs: Sequence[Epoch]) -> set[tuple[int, int]]:
    """Return the files, and segments of them, that the recording is made of."""
    return {(epoch.source_index, epoch.source_segment) for epoch in epochs}


def _require_segments(units: ImportedUnits, epochs: Sequence[Epoch]) -> None:
    if units.segments is None:
        return
    meant = {int(one) for own in units.segments for one in np.unique(own)}
    there = {epoch.source_segment for epoch in epochs}
    if meant - there or len({epoch.source_index for epoch in epochs}) > 1:
        raise ValueError(
            f"{units.path} has spikes in {max(meant) + 1} segments, and the recording has {len(there)}: give the "
            "recording with the segments that was sorted"
        )


def _require_no_cuts(units: ImportedUnits, epochs: Sequence[Epoch], config: RecordingConfig) -> None:
    """Refuse cuts in a concatenation, whose parts have lengths that the spikes do not tell."""
    cuts = [name for name in CUTS_WITHIN if getattr(config, name)]
    if cuts and units.segments is None and not units.in_seconds and len(_sources(epochs)) > 1:
        raise ValueError(
            f"{', '.join(cuts)} cannot be set: the recording is {len(_sources(epochs))} files or segments, and which "
            "frames of each are left out is not known to the spikes; leave the cuts out"
        )


def _frames(units: ImportedUnits, binary: BinaryRecording, times: NDArray[Any], segments: IntArray | None) -> IntArray:
    """Return the spikes of one unit that are in the recording, in its frames; others as frame -1."""
    epochs = binary.epochs
    if units.in_seconds:
        return np.sort(_from_seconds(times, binary))
    if segments is None and len(_sources(epochs)) > 1:
        return np.sort(times)  # of the concatenation
    placed = np.full(len(times), -1, dtype=np.int64)
    for epoch in epochs:
        first = epoch.source_start_frame
        own = (times >= first) & (times < first + epoch.n_frames)
        if segments is not None:
            own &= segments == epoch.source_segment
        placed[own] = times[own] - first + epoch.start_frame
    return np.sort(placed)


def _from_seconds(times: NDArray[np.float64], binary: BinaryRecording) -> IntArray:
    """Convert seconds of the session, on the clock of an NWB file where the recording is one."""
    fs, placed = binary.sampling_frequency, np.full(len(times), -1, dtype=np.int64)
    of_session = binary.source_format == "nwb"
    several = len(_sources(binary.epochs)) > 1
    for epoch in binary.epochs:
        begun = (epoch.start_frame if several else epoch.source_start_frame) / fs
        scale = 1.0
        if of_session and epoch.clock_start_s is not None:
            begun, scale = epoch.clock_start_s, epoch.clock_scale
        frames = np.round((times - begun) * fs / scale)
        own = (frames >= 0) & (frames < epoch.n_frames)
        placed[own] = frames[own].astype(np.int64) + epoch.start_frame
    return placed
