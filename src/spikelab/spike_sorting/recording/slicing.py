"""Which frames of the concatenated recording are kept."""

from __future__ import annotations

import itertools
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikelab.spike_sorting.config import RecordingConfig

Range = tuple[int, int]


def kept_ranges(n_frames: int, sampling_frequency: float, config: RecordingConfig) -> list[Range]:
    """Return the half-open frame ranges to keep, ascending and apart.

    ``first_n_mins`` comes first; what it leaves is cut by ``start_time_s``/``end_time_s`` and by ``rec_chunks_s``, or
    by ``rec_chunks``. All of them are on the clock of the concatenated recording.

    Parameters
    ----------
    n_frames : int
        Length of the concatenated recording.
    sampling_frequency : float
        In Hz.
    config : RecordingConfig

    Returns
    -------
    list of (int, int)

    Raises
    ------
    ValueError
        "Invalid time range" for a negative start, or a start at or after the end; "frame-based" where `rec_chunks` is
        combined with a cut by time; also where pieces overlap or are not ascending.

    Warns
    -----
    UserWarning
        Where an end lies past the recording; it is clipped.
    """
    if config.rec_chunks:
        _refuse_cuts_by_time(config)
        ranges = [(int(start), int(end)) for start, end in config.rec_chunks]
        _require_ascending("rec_chunks", ranges)
        return [_clipped(start, end, n_frames, 1.0, "frames") for start, end in ranges]
    if config.first_n_mins is not None:
        n_frames = min(n_frames, round(config.first_n_mins * 60 * sampling_frequency))
    window = _window(n_frames, sampling_frequency, config)
    if not config.rec_chunks_s:
        return [window]
    pieces = [(float(start), float(end)) for start, end in config.rec_chunks_s]
    _require_ascending("rec_chunks_s", pieces)
    return [_within(_from_seconds(start, end, n_frames, sampling_frequency), window) for start, end in pieces]


def _refuse_cuts_by_time(config: RecordingConfig) -> None:
    by_time = {
        "first_n_mins": config.first_n_mins,
        "start_time_s": config.start_time_s,
        "end_time_s": config.end_time_s,
        "rec_chunks_s": config.rec_chunks_s or None,
    }
    given = [name for name, value in by_time.items() if value is not None]
    if given:
        raise ValueError(f"rec_chunks is frame-based and cannot be combined with {', '.join(given)}; use rec_chunks_s")


def _window(n_frames: int, sampling_frequency: float, config: RecordingConfig) -> Range:
    if config.start_time_s is None and config.end_time_s is None:
        return 0, n_frames
    start = 0.0 if config.start_time_s is None else config.start_time_s
    end = n_frames / sampling_frequency if config.end_time_s is None else config.end_time_s
    return _from_seconds(start, end, n_frames, sampling_frequency)


def _from_seconds(start: float, end: float, n_frames: int, sampling_frequency: float) -> Range:
    if not 0 <= start < end:
        raise ValueError(f"Invalid time range: {start:g} to {end:g} s; the start must be 0 or more and below the end")
    return _clipped(
        round(start * sampling_frequency), round(end * sampling_frequency), n_frames, sampling_frequency, "s"
    )


def _clipped(start: int, end: int, n_frames: int, per_unit: float, unit: str) -> Range:
    """Move the end of a range to the recording's; `per_unit` and `unit` are for messages."""
    length = n_frames / per_unit
    if not 0 <= start < min(end, n_frames):
        raise ValueError(
            f"Invalid time range: {start / per_unit:g} to {end / per_unit:g} {unit} of a recording of {length:g} {unit}"
        )
    if end > n_frames:
        warnings.warn(
            f"the range {start / per_unit:g} to {end / per_unit:g} {unit} ends past the recording, and is clipped to "
            f"{length:g} {unit}",
            UserWarning,
            stacklevel=2,
        )
    return start, min(end, n_frames)


def _within(piece: Range, window: Range) -> Range:
    start, end = max(piece[0], window[0]), min(piece[1], window[1])
    if start >= end:
        raise ValueError(
            f"Invalid time range: frames {piece[0]} to {piece[1]} of rec_chunks_s lie outside start_time_s and "
            f"end_time_s (frames {window[0]} to {window[1]})"
        )
    return start, end


def _require_ascending(name: str, pieces: Sequence[tuple[float, float]]) -> None:
    for (_, end), (start, _) in itertools.pairwise(pieces):
        if start < end:
            raise ValueError(
                f"{name} must be ascending without overlap, but one piece starts at {start:g} and the one "
                f"before it ends at {end:g}"
            )
