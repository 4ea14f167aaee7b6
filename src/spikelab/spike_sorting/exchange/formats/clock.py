"""Seconds of an export: on the clock of the source, with its gaps, or of the recording, which has none."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, Epoch, IntArray

logger = logging.getLogger(__name__)

# Epochs of one clock may overlap by this: frames divided by a rate that is off by 100 ppm, over ten seconds.
OVERLAP_S = 1e-3


@dataclass(frozen=True)
class ExportClock:
    """Clock that gives the frames of a recording their seconds.

    Attributes
    ----------
    first_frames : numpy.ndarray of int64, shape (epochs,)
    starts_s, rates_hz : numpy.ndarray of float64, shape (epochs,)
        Seconds of these frames, and frames per second.
    is_of_source : bool
        False for the clock of the sorted recording, which starts at 0 and has no gaps.
    zero : datetime or None
        When the clock shows 0; None where the source does not say.
    """

    first_frames: IntArray
    starts_s: NDArray[np.float64]
    rates_hz: NDArray[np.float64]
    is_of_source: bool
    zero: datetime | None = None

    def seconds(self, frames: IntArray) -> NDArray[np.float64]:
        """Convert frames of the recording."""
        frames = np.asarray(frames, dtype=np.int64)
        epoch = np.searchsorted(self.first_frames, frames, side="right") - 1
        into_epoch = (frames - self.first_frames[epoch]) / self.rates_hz[epoch]
        seconds: NDArray[np.float64] = self.starts_s[epoch] + into_epoch
        return seconds

    def intervals(self, epochs: Sequence[Epoch]) -> list[list[float]]:
        """Return start and end of the epochs."""
        return self.spans(np.array([[epoch.start_frame, epoch.end_frame] for epoch in epochs]))

    def spans(self, periods: IntArray) -> list[list[float]]:
        """Return start and end of periods of frames, shape (periods, 2), each within one epoch."""
        starts = self.seconds(periods[:, 0])
        epoch = np.searchsorted(self.first_frames, periods[:, 0], side="right") - 1
        ends = starts + np.diff(periods)[:, 0] / self.rates_hz[epoch]
        spans: list[list[float]] = np.column_stack([starts, ends]).tolist()
        return spans


def clock_of(recording: BinaryRecording) -> ExportClock:
    """Choose the clock of the source where it puts all epochs on one ascending line, else that of the recording."""
    epochs, fs = recording.epochs, float(recording.sampling_frequency)
    first = np.array([epoch.start_frame for epoch in epochs], dtype=np.int64)
    own = ExportClock(first, first / fs, np.full(len(epochs), fs), is_of_source=False)
    placed = _on_one_line(epochs)
    if placed is None:
        return own
    starts, zero = placed
    rates = np.array([fs / epoch.clock_scale for epoch in epochs])
    clock = ExportClock(first, starts, rates, is_of_source=True, zero=zero)
    spans = np.array(clock.intervals(epochs))
    if (spans[1:, 0] < spans[:-1, 1] - OVERLAP_S).any():
        logger.warning("the epochs overlap or go back on the clock of their files: times are those of the recording")
        return own
    return clock


def _on_one_line(epochs: Sequence[Epoch]) -> tuple[NDArray[np.float64], datetime | None] | None:
    """Return the starts in s, counted from the zero of the first epoch's clock, and that zero."""
    starts = [epoch.clock_start_s for epoch in epochs]
    if not starts or None in starts:
        return None
    if not all(epoch.clock_zero for epoch in epochs):
        # Nobody knows how the clocks of several files stand to one another.
        of_one_file = len({(epoch.source_index, epoch.clock_zero) for epoch in epochs}) == 1
        return (np.array(starts, dtype=np.float64), None) if of_one_file else None
    moments = [_moment(epoch.clock_zero) for epoch in epochs]
    return np.array(starts) + [(moment - moments[0]).total_seconds() for moment in moments], moments[0]


def _moment(text: str) -> datetime:
    """Read a date and time; without a time zone it is one of this machine."""
    moment = datetime.fromisoformat(text)
    return moment.astimezone() if moment.tzinfo is None else moment
