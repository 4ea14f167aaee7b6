"""Plates: which well of which plate a recording is, by names such as well003 or B4."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Place: TypeAlias = tuple[int, int]  # row and column, from 0

# Rows and columns of plates, from 6 to 384 wells; of the first, second and fifth kind wells are numbered, row by row.
SIZES = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24))
NUMBERED = ((2, 3), (4, 6), (8, 12))
BY_LETTER = re.compile(r"(?:well[ _-]?)?([A-P])0*([1-9]\d?)", re.IGNORECASE)
BY_NUMBER = re.compile(r"well[ _-]?(\d{3})", re.IGNORECASE)  # from 000, as Maxwell writes them


@dataclass(frozen=True)
class Plate:
    """One plate, and the recordings of its wells."""

    name: str
    n_rows: int
    n_columns: int
    wells: dict[Place, int] = field(default_factory=dict)  # position of the recording in the list

    @property
    def row_names(self) -> list[str]:
        """Letters of the rows, from the top."""
        return [chr(ord("A") + row) for row in range(self.n_rows)]


def plates(names: Sequence[str], wells: Sequence[str]) -> list[Plate]:
    """Arrange recordings, given the name of the plate and of the well of each ("" where it is none), on plates.

    Recordings of one well, such as those of several days, are on plates one after the other. Plates of one well are
    left out: nothing can be seen on them.
    """
    found: list[Plate] = []
    for name in dict.fromkeys(names):
        of_plate = [index for index, own in enumerate(names) if own == name and wells[index]]
        found += _plates_of(name, {index: wells[index] for index in of_plate})
    return [plate for plate in found if len(plate.wells) > 1]


def place_of(well: str) -> Place | None:
    """Find the place that a name means on some plate; None where it is no well of any.

    Examples
    --------
    >>> from spikelab.spike_sorting.report import place_of
    >>> place_of("B4"), place_of("Z99")
    ((1, 3), None)
    """
    return next(iter((_numbered({0: well}) or _lettered({0: well})).values()), None)


def place_name(place: Place) -> str:
    """Name a well by letter and number."""
    return f"{chr(ord('A') + place[0])}{place[1] + 1}"


def _plates_of(name: str, wells: dict[int, str]) -> list[Plate]:
    places = _numbered(wells) or _lettered(wells)
    size = _size(places)
    made: list[Plate] = []
    for index, place in places.items():
        free = [plate for plate in made if place not in plate.wells]
        if not free:
            free = [Plate(f"{name} ({len(made) + 1})" if made else name, *size)]
            made += free
        free[0].wells[place] = index
    return made


def _size(places: dict[int, Place]) -> tuple[int, int]:
    """Return rows and columns of the smallest plate that has these places."""
    rows = max((row for row, _ in places.values()), default=0)
    columns = max((column for _, column in places.values()), default=0)
    return next((size for size in SIZES if size[0] > rows and size[1] > columns), SIZES[-1])


def _numbered(wells: dict[int, str]) -> dict[int, Place]:
    """Find the places of wells that are numbered."""
    numbers = {index: int(match[1]) for index, name in wells.items() if (match := BY_NUMBER.fullmatch(name.strip()))}
    highest = max(numbers.values(), default=0)
    columns = next((size[1] for size in NUMBERED if size[0] * size[1] > highest), None)
    return {} if columns is None else {index: divmod(number, columns) for index, number in numbers.items()}


def _lettered(wells: dict[int, str]) -> dict[int, Place]:
    """Find the places of wells that are named by letter and number."""
    matches = {index: match for index, name in wells.items() if (match := BY_LETTER.fullmatch(name.strip()))}
    places = {index: (ord(match[1].upper()) - ord("A"), int(match[2]) - 1) for index, match in matches.items()}
    return {index: place for index, place in places.items() if place[1] < SIZES[-1][1]}
