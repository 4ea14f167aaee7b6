"""Reading of tables that people write, in editors and spreadsheets: lists of recordings, labels, positions.

Columns are separated by tabs, semicolons or commas; cells may be quoted, with blanks around them; empty rows are left
out. What :mod:`spikelab.system.texts` says of encodings and faults holds here too.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, NamedTuple

from spikelab.system.quoting import printable
from spikelab.system.texts import brief, read_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# In the order in which they are looked for: a comma may be a decimal mark between the others.
SEPARATORS = ("\t", ";", ",")
# First line by which a spreadsheet says what separates the columns.
DECLARED = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
QUOTED = re.compile(r'"[^"]*"')
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WITH_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
LEADING_ZERO = re.compile(r"[+-]?0\d")
LIKE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


class Row(NamedTuple):
    """Row of a table: its line in the file, and its cells without the blanks around them."""

    line: int
    cells: list[str]


def read_rows(path: str | Path, what: str, *, blanks: bool = False) -> list[Row]:
    """Read the rows of a table that have a value.

    Parameters
    ----------
    path : str or Path
        A text file.
    what : str
        Expected content, for messages: "a list of recordings".
    blanks : bool
        Whether blanks separate the columns where the first row has no other separator.

    Raises
    ------
    ValueError
        If the file is no table; with its line.
    """
    text, separator = _divided(read_text(path, what), blanks=blanks)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [Row(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise ValueError(
            f"{printable(str(path))}, line {reader.line_num}: no valid CSV: {error}; expected {what}"
        ) from error
    return [row for row in rows if any(row.cells)]


def _divided(text: str, *, blanks: bool) -> tuple[str, str]:
    """Return the text of a table, and what separates its columns."""
    first = next((line for line in text.splitlines() if line.strip()), "").strip(" \r\n")
    declared = DECLARED.fullmatch(first)
    if declared:
        return text.replace(first, "", 1), declared[1]
    outside = QUOTED.sub("", first)
    separator = next((mark for mark in SEPARATORS if mark in outside), None)
    if separator is None and blanks:
        return "\n".join("\t".join(line.split()) for line in text.splitlines()), "\t"
    return text, separator or ","


def by_column(columns: Sequence[str], row: Row) -> dict[str, str]:
    """Return the cells of a row by column, "" where the row is short; ValueError for a value below no name."""
    missing = len(row.cells) - len(columns)
    names = [*columns, *[""] * missing]
    cells = [*row.cells, *[""] * -missing]
    for name, cell in zip(names, cells, strict=True):
        if cell and not name:
            raise ValueError(f"line {row.line}: {brief(cell)} is in a column without a name")
    return {name: cell for name, cell in zip(names, cells, strict=True) if name}


def known_name(name: str, known: Sequence[str]) -> str:
    """Return the one of `known` that differs from the name of a column at most in case, blanks and dashes, else it."""
    plain = re.sub(r"[\s_-]+", "_", name.strip()).casefold()
    return plain if plain in known else name


def numbers(cells: Sequence[str]) -> list[float]:
    """Parse the numbers of one column, or of columns written by one hand; "17,5" is 17.5.

    Raises
    ------
    ValueError
        If a cell is no number, or may be two: "1,250" where no other cell shows what a comma stands for.
    """
    commas = [cell for cell in cells if WITH_COMMA.fullmatch(cell)]
    points = [cell for cell in cells if NUMBER.fullmatch(cell)]
    others = set(cells).difference(commas, points)
    if others:
        raise ValueError(f"expected a number such as 17.5, got {brief(min(others))}")
    if commas:
        _require_decimal(commas, points)
    return [float(cell.replace(",", ".")) for cell in cells]


def _require_decimal(commas: Sequence[str], points: Sequence[str]) -> None:
    """Check that the comma of numbers is a decimal mark."""
    if any("." in cell for cell in points):
        raise ValueError(f"{brief(commas[0])} has a comma and other numbers have a point; write a point in all of them")
    if all(LIKE_THOUSANDS.fullmatch(cell) for cell in commas):
        readings = f"{commas[0].replace(',', '.')} or {commas[0].replace(',', '')}"
        raise ValueError(f"{brief(commas[0])} may be {readings}; write it with a point, or without a comma")


def whole_number(cell: str) -> int | None:
    """Parse a whole number as spreadsheets write it, "3.0" too; None where the cell holds anything else."""
    try:
        value = numbers([cell])[0]
    except ValueError:
        return None
    return int(value) if value.is_integer() and abs(value) < 2**53 else None


def typed(texts: Sequence[str]) -> list[str] | list[int] | list[float]:
    """Convert the cells of a column to numbers, where all of them are; 007 is none."""
    if any(LEADING_ZERO.match(text) for text in texts):
        return list(texts)
    try:
        parsed = numbers(texts)
    except ValueError:
        return list(texts)
    whole = all(number.is_integer() and abs(number) < 2**53 for number in parsed)
    return [int(number) for number in parsed] if whole else parsed
