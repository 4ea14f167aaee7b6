"""Epochs of a recording, and the annotation that carries them on a SpikeInterface recording."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikeinterface import BaseRecording

EPOCHS_ANNOTATION = "spikelab_epochs"
# Epochs beyond this number are gaps of a recording that lost packets, and no days or conditions to be compared:
# templates of 2000 epochs of 100 units on 64 channels would take 5 GB.
MOST_MEASURED_EPOCHS = 64


@dataclass(frozen=True)
class Epoch:
    """A segment of the sorted recording that was recorded without a break.

    File boundaries, segment boundaries and cuts made by ``rec_chunks`` all start a new epoch; no template window and
    no inter-spike interval crosses one.

    Attributes
    ----------
    start_frame, end_frame : int
        Half-open range on the clock of the sorted (concatenated) recording, in frames.
    name : str
        Short label, for example the file's stem.
    source_file : str
        File that holds the epoch ("" for a recording that was in memory).
    source_segment : int
        Segment of that file.
    source_start_frame : int
        First frame of the epoch in that segment.
    source_index : int
        Position of the file among the files that were concatenated; one ``SpikeData`` is returned per value.
    clock_start_s : float or None
        Time of the first frame on the file's own clock, in seconds; None where the file has none.
    clock_zero : str
        Date and time, ISO 8601, at which the file's clock shows 0; "" where the file does not say.
    clock_scale : float
        Seconds on the file's clock for each second by the sampling rate: 1.0001 where the rate is off by 100 ppm.

    Examples
    --------
    >>> from spikelab.spike_sorting.data import Epoch
    >>> second = Epoch(start_frame=40_000, end_frame=100_000, name="day2", source_index=1)
    >>> second.n_frames
    60000
    """

    start_frame: int
    end_frame: int
    name: str = ""
    source_file: str = ""
    source_segment: int = 0
    source_start_frame: int = 0
    source_index: int = 0
    clock_start_s: float | None = None
    clock_zero: str = ""
    clock_scale: float = 1.0

    @property
    def n_frames(self) -> int:
        """Length in frames."""
        return self.end_frame - self.start_frame


def measured_epochs(n_epochs: int) -> int:
    """Count the epochs that have templates, noise and metrics of their own: all of several, none of very many."""
    return n_epochs if 1 < n_epochs <= MOST_MEASURED_EPOCHS else 0


def annotate_epochs(recording: BaseRecording, epochs: Sequence[Epoch]) -> None:
    """Store `epochs` as an annotation of `recording`."""
    recording.annotate(**{EPOCHS_ANNOTATION: json.dumps([asdict(epoch) for epoch in epochs])})


def epochs_of(recording: BaseRecording) -> tuple[Epoch, ...]:
    """Read the epochs of a recording from its annotation; without one, the whole recording is one epoch."""
    text = recording.get_annotation(EPOCHS_ANNOTATION)
    if text is None:
        return (Epoch(0, int(recording.get_num_samples())),)
    return tuple(Epoch(**values) for values in json.loads(text))
