"""Times of stimulation pulses as somebody noted them: lists, files, and which frames of which segment they are."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.runlog import warn
from spikelab.system.texts import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

AUTO = "auto"
SETTING = "stim_times_s"
CLOCK = "Times are seconds from the first frame, before any cut, as those of start_time_s are"
EXPECTED = "one column of times in seconds, or two, times and sites"
MILLISECONDS = 1000.0


@dataclass(frozen=True)
class PulseTimes:
    """Times in seconds, ascending, and the name of the site of each; "" where nobody named it."""

    seconds: NDArray[np.float64]
    sites: tuple[str, ...]


def given_times(setting: Any) -> PulseTimes:
    """Read the setting: a list of seconds, lists by site, or the path of a file; ValueError for anything else.

    Unsorted times are sorted, and the same time given twice counts once; both are told.
    """
    if is_list_of_entries(setting):
        raise ValueError(f"{SETTING} is a list for several recordings, and this is one: give its own times alone")
    rows, what = _rows(setting), f"{SETTING}: {setting}" if isinstance(setting, str | Path) else SETTING
    wrong = [time for time, _ in rows if not math.isfinite(time) or time < 0]
    if wrong:
        raise ValueError(
            f"{what} has {len(wrong)} times that are negative or no numbers, the first {wrong[0]}. {CLOCK}"
        )
    return _in_order(rows, what)


def _rows(setting: Any) -> list[tuple[float, str]]:
    """List times and sites as they are given."""
    if isinstance(setting, str | Path):
        return _rows_of_file(Path(setting))
    by_site = setting if isinstance(setting, dict) else {"": setting}
    return [(float(time), site) for site, own in by_site.items() for time in own]


def _in_order(rows: Sequence[tuple[float, str]], what: str) -> PulseTimes:
    ordered = sorted(set(rows))
    if len(ordered) < len(rows):
        warn(f"{what} has {len(rows) - len(ordered)} times twice: each counts once")
    if sorted(rows, key=lambda row: row[0]) != list(rows) and len({site for _, site in rows}) == 1:
        warn(f"{what} has times that are not in order: they are sorted")
    return PulseTimes(np.array([time for time, _ in ordered], dtype=np.float64), tuple(site for _, site in ordered))


def _rows_of_file(path: Path) -> list[tuple[float, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"{SETTING}: there is no file {path}; expected a csv, txt or npy file with {EXPECTED}")
    return _rows_of_npy(path) if path.suffix.lower() == ".npy" else _rows_of_text(path)


def _rows_of_npy(path: Path) -> list[tuple[float, str]]:
    table = np.load(path, allow_pickle=False)
    if not table.size:
        raise ValueError(f"{SETTING}: {path} has no times; expected {EXPECTED}")
    if table.dtype.kind not in "iuf" or table.ndim not in (1, 2) or (table.ndim == 2 and table.shape[1] > 2):
        raise ValueError(f"{SETTING}: {path} holds {table.dtype} of shape {table.shape}, expected {EXPECTED}")
    table = table.reshape(len(table), -1)
    if table.shape == (1, 2):
        raise ValueError(_ambiguous(path, brief(table[0].tolist())))
    return [(float(row[0]), f"{row[1]:g}" if len(row) > 1 else "") for row in table]


def _ambiguous(path: Path, row: str) -> str:
    return (
        f"{SETTING}: {path} has one row of two numbers, {row}, which may be two times, or a time and a site: give "
        "times as a column, and a time and a site as a csv file with a header, such as time,site"
    )


def _rows_of_text(path: Path) -> list[tuple[float, str]]:
    """Read lines of a time and perhaps a site, apart by a comma, a semicolon, a tab or spaces; skip a header."""
    filled = _filled(path)
    named = bool(filled) and _number(_cells(filled[0][1])[0]) is None
    if named:
        del filled[0]
    rows: list[tuple[float, str]] = []
    for number, line in filled:
        row = _row(line)
        if row is None:
            raise ValueError(f"{SETTING}: line {number} of {path} is {brief(line)}, expected {EXPECTED}")
        rows.append(row)
    if not rows:
        raise ValueError(f"{SETTING}: {path} has no times; expected {EXPECTED}")
    if not named and len(rows) == 1 and _number(rows[0][1]) is not None:
        raise ValueError(_ambiguous(path, brief(filled[0][1])))
    return rows


def _filled(path: Path) -> list[tuple[int, str]]:
    """Return the lines that are neither empty nor comments, with their numbers."""
    lines = enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip() and not line.startswith("#")]


def _row(line: str) -> tuple[float, str] | None:
    cells = _cells(line)
    time = _number(cells[0])
    return None if time is None or len(cells) > 2 else (time, cells[1] if len(cells) > 1 else "")


def _cells(line: str) -> list[str]:
    delimiter = next((mark for mark in (",", ";", "\t") if mark in line), " ")
    cells = [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]
    return cells if delimiter != " " else [cell for cell in cells if cell]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def of_each_recording(setting: Any, n_recordings: int) -> list[Any]:
    """Give each of several recordings its own of a list that has one entry for each; anything else is for all.

    ValueError where there are not as many entries as recordings.
    """
    if not is_list_of_entries(setting):
        return [setting] * n_recordings
    if len(setting) != n_recordings:
        raise ValueError(
            f"{SETTING} has {len(setting)} entries for {n_recordings} recordings: give one list or file for each, "
            "None for one without pulses"
        )
    return list(setting)


def is_list_of_entries(setting: Any) -> bool:
    """Tell whether the setting is a list with an entry for each recording, and not of times."""
    return isinstance(setting, list | tuple) and any(
        entry is None or isinstance(entry, str | Path | list | tuple | dict) for entry in setting
    )


def as_frames(
    times: PulseTimes, lengths: Sequence[int], sampling_frequency: float, label: str, clock_start_s: float | None
) -> list[tuple[IntArray, tuple[str, ...]]]:
    """Find the frames of each of the segments, which follow one another and have these lengths, and their sites.

    ValueError where a time lies outside; the message tells whether milliseconds or the clock of the file would fit.
    """
    duration = sum(lengths) / sampling_frequency
    outside = np.flatnonzero(times.seconds >= duration)
    if len(outside):
        raise ValueError(_outside(times.seconds, outside, duration, label, clock_start_s))
    ends = np.cumsum([0, *lengths])
    frames = np.rint(times.seconds * sampling_frequency).astype(np.int64).clip(max=ends[-1] - 1)
    parts = []
    for start, end in pairwise(ends.tolist()):
        own = np.flatnonzero((frames >= start) & (frames < end))
        parts.append((frames[own] - start, tuple(times.sites[i] for i in own)))
    return parts


def _outside(
    seconds: NDArray[np.float64], outside: IntArray, duration: float, label: str, clock_start_s: float | None
) -> str:
    found = (
        f"{SETTING}: {len(outside)} of {len(seconds)} times lie outside of {label}, which lasts {duration:g} s; the "
        f"first of them is {seconds[outside[0]]:g}"
    )
    if clock_start_s and seconds.min() >= clock_start_s and seconds.max() < clock_start_s + duration:
        return (
            f"{found}. {CLOCK}. All lie within it on the clock of the file, which begins at {clock_start_s:g} s: "
            "subtract that"
        )
    if seconds.max() / MILLISECONDS < duration:
        return f"{found}. {CLOCK}; as milliseconds all would lie within it: divide them by 1000"
    return f"{found}. {CLOCK}"


def by_file_clock(
    events: Mapping[str, NDArray[np.float64]], stretches: Sequence[tuple[float, float, int]], sampling_frequency: float
) -> list[tuple[IntArray, tuple[str, ...]]]:
    """Find the frames of events, seconds on the clock of the file by channel, in stretches of (start, scale, frames).

    Events between the stretches, where nothing was recorded, are left out; one that is less than half a frame before a
    stretch is its first frame, unless it is of the stretch before.
    """
    parts: list[tuple[IntArray, tuple[str, ...]]] = []
    placed = {site: np.zeros(len(seconds), dtype=np.bool_) for site, seconds in events.items()}
    for begun, scale, n_frames in stretches:
        rows = []
        for site, seconds in events.items():
            places = (seconds - begun) / scale * sampling_frequency
            own = (places < n_frames) & ((places >= 0) | ((places >= -0.5) & ~placed[site]))
            placed[site] |= own
            rows += [(frame, site) for frame in np.rint(places[own]).astype(np.int64).clip(0, n_frames - 1).tolist()]
        rows.sort()
        parts.append((np.array([frame for frame, _ in rows], dtype=np.int64), tuple(site for _, site in rows)))
    return parts
