"""Read the positions of contacts from a table that a person wrote: CSV, TSV or columns apart by blanks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.read_errors import list_some
from spikelab.system.runlog import warn
from spikelab.system.tables import Row, by_column, numbers, read_rows, whole_number
from spikelab.system.texts import brief

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

ENDINGS = (".csv", ".tsv", ".txt")
# Names of the columns that people use, without case and what is not a letter.
NAMES = {
    "channel": ("channel", "channels", "ch", "chan", "channelindex", "channelnumber"),
    "channel_id": ("channelid", "channelname", "channelids"),
    "contact": ("contact", "contactid", "electrode", "electrodeid", "site"),
    "probe": ("probe", "probeid", "group", "device", "tetrode"),
    "shank": ("shank", "shankid"),
}
COLUMN = {written: name for name, names in NAMES.items() for written in names}
# With a unit of length: "x (um)", "y_mm"; the micro sign and the Greek letter look alike.
AXIS = re.compile("([xyz])[\\s_]*(?:[\\[(]?([u\u00b5\u03bc]m|mm|m)[\\])]?)?")
UM = {"mm": 1e3, "m": 1e6}
UNKNOWN = ("", "n/a", "na", "nan", "none")
WHAT = "a table of contacts: the columns channel, x, y (um), and if there are: contact, shank, probe"


@dataclass(frozen=True)
class ContactTable:
    """Contacts of a table, each with its row of texts by column; `places` are in micrometres."""

    path: Path
    rows: list[dict[str, str]]
    places: NDArray[np.float64]

    def get_contact_count(self) -> int:
        """Return the number of contacts, as of a ``ProbeGroup``."""
        return len(self.rows)

    def wired(self, recording: BaseRecording) -> Any:
        """Return a ``ProbeGroup`` of the contacts, wired to the channels of a recording where the table says to which.

        A ValueError says that a channel is not there, or may be either of two.
        """
        from probeinterface import Probe, ProbeGroup

        channels = self._channels([str(channel) for channel in recording.channel_ids])
        names = np.array([row.get("probe", "") for row in self.rows])
        group = ProbeGroup()
        for name in dict.fromkeys(names.tolist()):
            own = np.flatnonzero(names == name).tolist()
            probe = Probe(ndim=self.places.shape[1], si_units="um", name=name or None)
            probe.set_contacts(
                self.places[own],
                shapes="circle",
                shape_params={"radius": 5},
                contact_ids=self._texts("contact", own),
                shank_ids=self._texts("shank", own),
            )
            if channels is not None:
                probe.set_device_channel_indices(np.array(channels)[own])
            group.add_probe(probe)
        return group

    def _texts(self, column: str, rows: Sequence[int]) -> NDArray[np.str_] | None:
        return np.array([self.rows[row][column] for row in rows]) if column in self.rows[0] else None

    def _channels(self, ids: Sequence[str]) -> list[int] | None:
        """Return the row of each contact's channel in the recording; None where the table does not say."""
        key = "channel_id" if "channel_id" in self.rows[0] else "channel"
        if key not in self.rows[0]:
            return None
        written = [row[key] for row in self.rows]
        by_id = _by_id(written, ids)
        by_number = _by_number(written, len(ids)) if key == "channel" else None
        if by_id and by_number and by_id != by_number:
            raise ValueError(
                f"{self.path}: the column channel may count the channels from 0, or name them, which are "
                f"{list_some(ids)}: call the column channel_id if it names them, and renumber them if it counts"
            )
        found = by_id or by_number
        if found is None:
            raise ValueError(
                f"{self.path}: the column {key} has {brief(written[:8])} ...; expected {_expected(key, ids)}"
            )
        self._tell_left_out(ids, found)
        return found

    def _tell_left_out(self, ids: Sequence[str], found: Sequence[int]) -> None:
        left_out = [ids[row] for row in np.setdiff1d(np.arange(len(ids)), found)]
        if left_out:
            warn(f"{self.path} has no contact of the channels {list_some(left_out)}: they are left out")


def _expected(key: str, ids: Sequence[str]) -> str:
    numbered = f", or numbers from 0 to {len(ids) - 1}" if key == "channel" else ""
    return f"ids of channels, which are {list_some(ids)}{numbered}"


def _by_id(written: Sequence[str], ids: Sequence[str]) -> list[int] | None:
    row_of = {name: row for row, name in enumerate(ids)}
    rows = [row_of.get(text, row_of.get(str(whole_number(text)), -1)) for text in written]
    return rows if min(rows) >= 0 else None


def _by_number(written: Sequence[str], n_channels: int) -> list[int] | None:
    """Return channels that are counted from 0; -1 is none."""
    rows = [row for row in map(whole_number, written) if row is not None and -1 <= row < n_channels]
    return rows if len(rows) == len(written) else None


def read_contacts(path: Path) -> ContactTable:
    """Read a table of contacts; a ValueError names file and line of what is none."""
    rows = read_rows(path, WHAT, blanks=True)
    if not rows:
        raise ValueError(f"{path} is empty; expected {WHAT}")
    has_header = not all(_is_number(cell) for cell in rows[0].cells if cell)
    columns = _header(rows[0], path) if has_header else _columns_of_numbers(rows, path)
    known = list(_with_places(columns, rows[int(has_header) :], path))
    if not known:
        raise ValueError(f"{path} has no contacts; expected {WHAT}")
    axes = sorted(name for name in columns if AXIS.fullmatch(name))
    places = np.column_stack([_coordinates(axis, known, path) for axis in axes])
    return ContactTable(path, [own for _, own in known], places)


def _with_places(columns: Sequence[str], rows: Sequence[Row], path: Path) -> Iterator[tuple[Row, dict[str, str]]]:
    """Yield the rows of contacts that have a place, with their cells by column."""
    for row in rows:
        try:
            cells = by_column(columns, row)
        except ValueError as error:
            raise ValueError(f"{path}, {error}; expected {WHAT}") from error
        if _has_place(row, cells, path):
            yield row, cells


def _coordinates(axis: str, known: Sequence[tuple[Row, dict[str, str]]], path: Path) -> NDArray[np.float64]:
    """Return the coordinates of a column, in micrometres."""
    try:
        values = numbers([cells[axis] for _, cells in known])
    except ValueError as error:
        row = next((row for row, cells in known if not _is_number(cells[axis])), known[0][0])
        raise ValueError(f"{path}, line {row.line}, column {axis}: {error}") from error
    unit = AXIS.fullmatch(axis)
    return np.array(values) * (UM.get(unit[2], 1.0) if unit else 1.0)


def _is_number(cell: str) -> bool:
    try:
        numbers([cell])
    except ValueError:
        return False
    return True


def _header(row: Row, path: Path) -> list[str]:
    """Return the columns by the names that are known here."""
    columns = [_column(cell) for cell in row.cells]
    axes = sorted(name[0] for name in columns if AXIS.fullmatch(name))
    if axes not in (["x", "y"], ["x", "y", "z"]):
        raise ValueError(f"{path}, line {row.line}: the columns are {brief(row.cells)}; expected {WHAT}")
    _require_understood([name for name in columns if name], row, path)
    return columns


def _require_understood(columns: Sequence[str], row: Row, path: Path) -> None:
    """Refuse two columns of one meaning, and say which columns have none."""
    twice = {name for name in columns if columns.count(name) > 1}
    if twice:
        raise ValueError(f"{path}, line {row.line}: two columns mean {' and '.join(sorted(twice))}; leave one of them")
    unknown = [name for name in columns if not _is_known(name)]
    if unknown:
        warn(f"{path}: the columns {', '.join(unknown)} are not used; known are x, y, z, {', '.join(NAMES)}")


def _is_known(name: str) -> bool:
    return name in NAMES or AXIS.fullmatch(name) is not None


def _column(cell: str) -> str:
    name = cell.lower()
    return name if AXIS.fullmatch(name) else COLUMN.get(re.sub(r"[^a-z]", "", name), cell)


def _columns_of_numbers(rows: Sequence[Row], path: Path) -> list[str]:
    """Name the columns of a table without a header."""
    widths = {len(row.cells) for row in rows}
    if widths == {2}:
        return ["x", "y"]
    if widths == {3}:
        first = sorted(number for row in rows if (number := whole_number(row.cells[0])) is not None)
        if first == list(range(len(rows))):
            warn(f"{path} has no header: its first column, which counts from 0, is taken for the channels")
            return ["channel", "x", "y"]
    raise ValueError(
        f"{path} has no header, and {' or '.join(map(str, sorted(widths)))} columns: write what they are into the "
        "first line, as channel,x,y or x,y,z"
    )


def _has_place(row: Row, cells: dict[str, str], path: Path) -> bool:
    """Return whether a contact has a place; references and unconnected channels often have none."""
    places = [cell.lower() for name, cell in cells.items() if AXIS.fullmatch(name)]
    if not any(place in UNKNOWN for place in places):
        return True
    if not all(place in UNKNOWN for place in places):
        raise ValueError(f"{path}, line {row.line}: a place has one coordinate and lacks another; expected {WHAT}")
    warn(f"{path}, line {row.line}: the contact has no place, and is left out")
    return False
