"""Further columns of a list of recordings: what people note of a recording, such as condition, line, day or drug."""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.settings.keywords import keywords
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
from spikelab.system.tables import numbers
from spikelab.system.texts import brief

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LONGEST_NAME, LONGEST_VALUE = 60, 1000  # characters
SHORT_NAME = 8  # letters of a name; of a shorter one a single letter makes another word
LIKE_WELL = re.compile(r"well[ _-]?\d+|(well[ _-]?)?[A-Z]{1,2}[ _-]?\d{1,3}", re.IGNORECASE)
LIKE_ID = re.compile(r"[+-]?0\d")  # a number that a person would not write so
# Names that the results have for what they say themselves: metadata of ``SpikeData``, columns of ``units.csv``.
TAKEN = (
    "channel_locations", "clock", "epoch_index", "epoch_name", "fs_Hz", "n_samples", "rec_chunk_names",
    "rec_chunk_source_files", "rec_chunk_sources", "rec_chunks_frames", "rec_chunks_ms", "recording", "source_file",
    "source_files", "source_format", "stim_sites", "template_full_peak_ind", "unit_id",
)  # fmt: skip


def column_fault(name: str, known: Sequence[str]) -> str:
    """Say why a column that is none of the `known` ones cannot be taken as one of the user's own; "" if it can."""
    if name in keywords(SortingPipelineConfig):
        return f"is a setting, which belongs into config: {name}=..."
    if slip := _slip(name, known):
        return slip
    if name in TAKEN:
        return "is a name that the results use for something else; give the column another one"
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        return f"expected a printable name of at most {LONGEST_NAME} letters"
    return ""


def _slip(name: str, known: Sequence[str]) -> str:
    """Ask whether a name was meant as a known one or as a setting; "" where it is like none."""
    if near := next((other for other in known if _is_near(name, other)), None):
        return f"did you mean {near!r}? A column of your own needs a name that is less like it"
    settings = (other for other in keywords(SortingPipelineConfig) if "_" in other)
    if near := next((other for other in settings if _is_near(name, other)), None):
        return f"did you mean the setting {near!r}, which belongs into config? A column of your own needs another name"
    return ""


def well_fault(name: str, value: Any) -> str:
    """Say why a value of the column ``well`` that is written like a well is none of any plate; "" if it is one."""
    from spikelab.spike_sorting.report import place_of

    if name.casefold() != "well" or not LIKE_WELL.fullmatch(str(value).strip()) or place_of(str(value)) is not None:
        return ""
    return (
        f"no plate has a well {value}; expected a letter and a number from A1 to P24, or well000 to well095. Names of "
        "another kind go into a column of another name"
    )


def shared_wells(entries: Sequence[Mapping[str, Any]], known: Sequence[str]) -> list[tuple[int, int, str]]:
    """Find entries at one well of one plate that no column tells apart: the later one, the earlier one, the well."""
    from spikelab.spike_sorting.report import place_of

    first: dict[tuple[Any, ...], int] = {}
    shared = []
    for index, entry in enumerate(entries):
        noted = {name.casefold(): value for name, value in entry.items() if name not in known}
        well = str(noted.pop("well", ""))
        place = place_of(well) or (well if LIKE_WELL.fullmatch(well.strip()) else None)
        key = (place, repr(sorted(noted.items())), str(entry.get("sorter")))
        if place is not None and first.setdefault(key, index) != index:
            shared.append((index, first[key], " ".join(filter(None, [str(noted.get("plate", "")), well]))))
    return shared


def value_fault(value: Any) -> str:
    """Say why a value cannot be noted of a recording; "" if it can."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, got {value}"
    if not isinstance(value, str | int | float | dt.date | dt.time):
        return f"expected a text, a number or a date, got {brief(value)}; settings such as snr_min belong into config"
    if isinstance(value, str) and len(value) > LONGEST_VALUE:
        return f"expected a text of at most {LONGEST_VALUE} letters, got {len(value)}"
    return ""


def further_columns(values: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Collect what an entry says besides the `known` keys, in values of JSON; entries without a value are left out."""
    noted = {name: value for name, value in values.items() if name not in known and value not in (None, "")}
    return {name: _plain(value) for name, value in noted.items()}


def read_further(columns: Iterable[str], entries: Sequence[dict[str, Any]], known: Sequence[str]) -> list[str]:
    """Read the cells of the columns of a CSV file that are none of the `known` ones, in place; return the faults.

    A column with a fault is taken out of the entries, so that the fault is told once.
    """
    faults = []
    for name in columns:
        if name in known:
            continue
        fault = column_fault(name, known)
        values = typed([entry.pop(name, "") for entry in entries])
        if fault:
            faults.append(f"column {brief(name)}: {fault}")
            continue
        for entry, value in zip(entries, values, strict=True):
            entry[name] = value
    return faults


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date | dt.time) else value


def typed(cells: Sequence[str]) -> list[Any]:
    """Read the cells of one column, empty ones included, as numbers where all are; ids such as 007 stay texts."""
    filled = [cell for cell in cells if cell]
    if any(map(LIKE_ID.match, filled)):
        return list(cells)
    try:
        values = dict(zip(filled, numbers(filled), strict=True))
    except ValueError:
        return list(cells)
    whole = all(cell.lstrip("+-").isdigit() for cell in filled)
    read: dict[str, Any] = {cell: int(cell) for cell in filled} if whole else values
    return [read.get(cell, cell) for cell in cells]


def _is_near(name: str, known: str) -> bool:
    """Tell whether a name differs from a known one by a slip: a letter or, in a long one, two."""
    most = 1 if len(known) < SHORT_NAME else 2
    return len(known) > most + 2 and _distance(name.casefold(), known.casefold(), most) <= most


def _distance(a: str, b: str, most: int) -> int:
    """Count the letters to add, drop, change or swap with the next one; more than `most` where there are more."""
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        earlier, before, row = before, row, [i]
        for j, other in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
    return row[-1]
