"""Epochs of a recording that is concatenated and cut: which frames of which file each holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

from spikelab.spike_sorting.data import Epoch

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Segment:
    """One segment of one file, before any cut.

    Attributes
    ----------
    source_index, segment : int
        Position of the file among the files, and of the segment in the file.
    n_frames : int
        Length.
    name, source_file : str
        Stem and path of the file (the path is "" in memory).
    """

    source_index: int
    segment: int
    n_frames: int
    name: str = ""
    source_file: str = ""


def cut_epochs(segments: Sequence[Segment], kept: Sequence[tuple[int, int]]) -> tuple[Epoch, ...]:
    """Make the epochs: intersect the kept ranges with the segments.

    The ranges are half-open frames of the concatenated segments, ascending and apart. The epochs tile the kept
    recording; a boundary of a file, a segment or a kept range starts a new epoch.
    """
    ends = list(accumulate(segment.n_frames for segment in segments))
    epochs: list[Epoch] = []
    position = 0
    for start, end in kept:
        for segment, segment_end in zip(segments, ends, strict=True):
            segment_start = segment_end - segment.n_frames
            first, last = max(start, segment_start), min(end, segment_end)
            if first >= last:
                continue
            epochs.append(
                Epoch(
                    start_frame=position,
                    end_frame=position + last - first,
                    name=segment.name,
                    source_file=segment.source_file,
                    source_segment=segment.segment,
                    source_start_frame=first - segment_start,
                    source_index=segment.source_index,
                )
            )
            position += last - first
    return _with_distinct_names(epochs)


def _with_distinct_names(epochs: list[Epoch]) -> tuple[Epoch, ...]:
    """Number the names of epochs of one file, where it has several: ``name_0``, ``name_1``, ..."""
    totals = Counter(epoch.source_index for epoch in epochs)
    seen: Counter[int] = Counter()
    named = []
    for epoch in epochs:
        name = epoch.name
        if totals[epoch.source_index] > 1:
            name = f"{name}_{seen[epoch.source_index]}"
            seen[epoch.source_index] += 1
        named.append(replace(epoch, name=name))
    return tuple(named)
