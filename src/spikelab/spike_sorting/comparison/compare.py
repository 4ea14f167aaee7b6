"""Comparison of sorts: matched units, what each alone has and why, consensus of several, settings and versions."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spikelab.spike_sorting.comparison.about import (
    differing_settings,
    differing_versions,
    doubts,
    named,
    over_the_same_time,
)
from spikelab.spike_sorting.comparison.consensus import consensus_of
from spikelab.spike_sorting.comparison.reasons import alone_in
from spikelab.spike_sorting.comparison.sides import Side, open_side
from spikelab.spike_sorting.data.matching import Overlap, best_pairs, overlap_of
from spikelab.system import files
from spikelab.system.quoting import in_spreadsheet
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TABLES = ("sorts", "matched", "alone", "consensus", "settings", "versions")
Table: TypeAlias = list[dict[str, Any]]
Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Comparison:
    """Two or more sorts of one recording, unit by unit. Tables are lists of dictionaries with equal keys.

    Attributes
    ----------
    names : tuple of str
        Of the sorts, in the order in which they were given.
    delta_ms : float
        Largest difference of two spikes that are the same.
    min_agreement : float
        Least agreement of two units that are the same: spikes in common over all spikes of either.
    sorts : list of dict
        Each sort: name, source, kind, n_units, n_found (with those that curation dropped), rate (Hz), length_s.
    matched : list of dict
        Pairs of units that are the same: a, unit_a, b, unit_b, agreement, n_a, n_b, n_common. With a ground truth, as
        b, one row for each of its units, with accuracy (the agreement), recall and precision; the best unit of a
        where none is matched, and None where none fires with it; "found" tells them apart.
    alone : list of dict
        Units that have no partner in another sort: in, not_in, unit, why (one of "dropped by curation", "split",
        "merged", "found in part", "below its amplitudes", "in its noise"), detail, units (of the other sort, which
        are meant), best_agreement, n_spikes, amplitude (uV), snr, label.
    consensus : list of dict
        Of three and more sorts: consensus, n_agree, least_agreement, and ``unit in <name>`` of each sort, or
        None.
    settings, versions : list of dict
        What differs between sorts whose settings are known: name, and ``in <name>`` of each sort.
    notes : list of str
        What makes the comparison doubtful: another recording, length or rate.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> from spikelab.spike_sorting import compare_sorts
    >>> one, other = SpikeData([[10.0, 500.0], [40.0]], length=1000.0), SpikeData([[10.0, 500.0]], length=1000.0)
    >>> compared = compare_sorts(one, other, names=["one", "other"])
    >>> [(row["unit_a"], row["unit_b"]) for row in compared.matched], [row["unit"] for row in compared.alone]
    ([(0, 0)], [1])
    """

    names: tuple[str, ...]
    delta_ms: float
    min_agreement: float
    sorts: Table
    matched: Table
    alone: Table
    consensus: Table = field(default_factory=list)
    settings: Table = field(default_factory=list)
    versions: Table = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    truth: str | None = None

    def to_csv(self, folder: str | Path) -> list[Path]:
        """Write each table that has rows as ``<table>.csv`` into a folder; returns the files.

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> from spikelab.spike_sorting import compare_sorts
        >>> sorted_units = SpikeData([[10.0, 500.0], [40.0]], length=1000.0)
        >>> [path.name for path in compare_sorts(sorted_units, sorted_units).to_csv("compared")]
        ['sorts.csv', 'matched.csv']
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name in TABLES:
            rows: Table = getattr(self, name)
            if rows:
                files.write_text(folder / f"{name}.csv", _csv(rows))
                written.append(folder / f"{name}.csv")
        return written

    def to_html(self, path: str | Path) -> Path:
        """Write one page that needs nothing else, and return its path.

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> from spikelab.spike_sorting import compare_sorts
        >>> sorted_units = SpikeData([[10.0, 500.0], [40.0]], length=1000.0)
        >>> compare_sorts(sorted_units, sorted_units).to_html("compared.html").name
        'compared.html'
        """
        from spikelab.spike_sorting.report.comparison_page import render_comparison

        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, render_comparison(self))
        return path


def compare_sorts(
    a: Any,
    b: Any,
    *more: Any,
    names: Sequence[str] | None = None,
    delta_ms: float = 0.4,
    min_agreement: float = 0.5,
    truth: bool = False,
    units: str = "curated",
    trust_input: bool = False,
) -> Comparison:
    """Compare sorts of one recording unit by unit.

    Parameters
    ----------
    a, b, *more : path or SpikeData
        Results folders, files of :class:`~spikelab.SpikeData` (npz, h5, pkl; reading a pickle runs code), folders and
        files of other programs as :func:`import_sorting` reads them.
    names : sequence of str, optional
        What they are called; by default the names of the folders or files.
    delta_ms : float
        Spikes at most this far apart, in ms, are the same.
    min_agreement : float
        Units are the same from this agreement on, 0 to 1: spikes in common over all spikes of either.
    truth : bool
        Whether the last one is the ground truth, by which the others are judged.
    units : {"curated", "all"}
        Of results folders, the units that curation kept, or all that the sorter found.
    trust_input : bool
        Follow whatever a folder of SpikeInterface names: it can run any program.

    Returns
    -------
    Comparison

    Raises
    ------
    FileNotFoundError, ValueError
        If one of them cannot be read, or a value is impossible.

    Warns
    -----
    UserWarning
        If they are of different recordings: by their file, rate or length.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> from spikelab.spike_sorting import compare_sorts
    >>> found = SpikeData([[10.0, 500.0, 700.0], [40.0, 90.0]], length=1000.0)
    >>> true = SpikeData([[40.1, 90.1], [10.0, 500.2]], length=1000.0)
    >>> compared = compare_sorts(found, true, names=["mine", "true"], truth=True)
    >>> [(row["unit_b"], row["unit_a"], round(row["accuracy"], 2)) for row in compared.matched]
    [(0, 1, 1.0), (1, 0, 0.67)]
    """
    _require(delta_ms, min_agreement, units)
    opened = named([open_side(source, units=units, trust=trust_input) for source in (a, b, *more)], names)
    notes = doubts(opened)
    for note in notes:
        warn(note)
    sides = over_the_same_time(opened)
    pairs = _pairs(len(sides), truth=truth)
    overlaps = {pair: overlap_of(sides[pair[0]].trains, sides[pair[1]].trains, delta_ms) for pair in pairs}
    matches = {pair: _matches(sides, pair, overlap, min_agreement) for pair, overlap in overlaps.items()}
    matched, alone = _tables(sides, overlaps, matches, min_agreement, truth=truth)
    return Comparison(
        names=tuple(side.name for side in sides),
        delta_ms=delta_ms,
        min_agreement=min_agreement,
        sorts=list(map(_about, opened)),
        matched=matched,
        alone=alone,
        consensus=consensus_of(sides, overlaps, matches) if len(sides) > 2 and not truth else [],
        settings=differing_settings(sides),
        versions=differing_versions(sides),
        notes=notes,
        truth=sides[-1].name if truth else None,
    )


def _require(delta_ms: float, min_agreement: float, units: str) -> None:
    if not 0 <= delta_ms < np.inf:
        raise ValueError(f"delta_ms must be a time in ms, 0 or more, got {delta_ms!r}")
    if not 0 < min_agreement <= 1:
        raise ValueError(f"min_agreement must be above 0 and at most 1, got {min_agreement!r}")
    if units not in ("curated", "all"):
        raise ValueError(f"units must be 'curated' or 'all', got {units!r}")


def _pairs(n_sides: int, *, truth: bool) -> list[tuple[int, int]]:
    return [(side, n_sides - 1) for side in range(n_sides - 1)] if truth else list(combinations(range(n_sides), 2))


def _matches(sides: Sequence[Side], pair: tuple[int, int], overlap: Overlap, least: float) -> list[tuple[int, int]]:
    """Match the units of two sorts, by their rows."""
    rows, columns = sides[pair[0]].rows(), sides[pair[1]].rows()
    found = best_pairs(overlap.take(rows, columns).agreement, least)
    return [(int(rows[row]), int(columns[column])) for row, column in found]


def _tables(
    sides: Sequence[Side],
    overlaps: Mapping[Pair, Overlap],
    matches: Mapping[Pair, Sequence[Pair]],
    least: float,
    *,
    truth: bool,
) -> tuple[Table, Table]:
    """Make the tables of matched units, and of those that are alone."""
    matched: Table = []
    alone: Table = []
    for pair, overlap in overlaps.items():
        matched += _matched(sides, pair, overlap, matches[pair], truth=truth)
        alone += _alone(sides, pair, overlap, matches[pair], least)
    return matched, alone


def _about(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "source": side.source,
        "kind": side.kind,
        "n_units": int(side.kept.sum()),
        "n_found": len(side.ids),
        "rate": side.rate,
        "length_s": side.length_s,
    }


def _matched(
    sides: Sequence[Side], pair: tuple[int, int], overlap: Overlap, matches: Sequence[tuple[int, int]], *, truth: bool
) -> Table:
    first, other = (sides[index] for index in pair)
    if truth:
        return _judged(first, other, overlap, {theirs: mine for mine, theirs in matches})
    rows = [_row(first, other, overlap, mine, theirs) for mine, theirs in matches]
    return sorted(rows, key=lambda row: -row["agreement"])


def _row(first: Side, other: Side, overlap: Overlap, mine: int, theirs: int) -> dict[str, Any]:
    return {
        "a": first.name,
        "unit_a": first.ids[mine],
        "b": other.name,
        "unit_b": other.ids[theirs],
        "agreement": float(overlap.agreement[mine, theirs]),
        "n_a": int(overlap.n_a[mine]),
        "n_b": int(overlap.n_b[theirs]),
        "n_common": int(overlap.n_common[mine, theirs]),
        "amplitude": _first_known(first.value(mine, "amplitude"), other.value(theirs, "amplitude")),
        "snr": _first_known(first.value(mine, "snr"), other.value(theirs, "snr")),
    }


def _first_known(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _judged(first: Side, true: Side, overlap: Overlap, partners: dict[int, int]) -> Table:
    """List the units of a ground truth, each with the unit that it is, or the nearest to it."""
    agreement, kept = overlap.agreement, first.rows()
    table = []
    for theirs in true.rows().tolist():
        best = int(kept[np.argmax(agreement[kept, theirs])]) if len(kept) else None
        mine = partners.get(theirs, best)
        fires = mine is not None and overlap.n_common[mine, theirs] > 0
        row = _row(first, true, overlap, mine, theirs) if fires and mine is not None else _missed(first, true, theirs)
        measures = {
            "accuracy": row["agreement"],
            "recall": row["n_common"] / max(1, row["n_b"]),
            "precision": row["n_common"] / max(1, row["n_a"]),
        }
        table.append({**row, **measures, "found": theirs in partners})
    return table


def _missed(first: Side, true: Side, theirs: int) -> dict[str, Any]:
    return {
        "a": first.name,
        "unit_a": None,
        "b": true.name,
        "unit_b": true.ids[theirs],
        "agreement": 0.0,
        "n_a": 0,
        "n_b": len(true.trains[theirs]),
        "n_common": 0,
        "amplitude": true.value(theirs, "amplitude"),
        "snr": true.value(theirs, "snr"),
    }


def _alone(
    sides: Sequence[Side], pair: tuple[int, int], overlap: Overlap, matches: Sequence[tuple[int, int]], least: float
) -> Table:
    first, other = (sides[index] for index in pair)
    turned = {theirs: mine for mine, theirs in matches}
    return [
        *alone_in(first, other, overlap, dict(matches), least),
        *alone_in(other, first, overlap.turned(), turned, least),
    ]


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer.writerow(map(in_spreadsheet, columns))
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return in_spreadsheet("; ".join(map(str, value)) if isinstance(value, list) else value)
