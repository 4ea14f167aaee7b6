"""``spikelab compare``: compare sorts, and print what came out."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from spikelab.cli._output import table
from spikelab.system.quoting import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.comparison import Comparison

MOST_ROWS = 30
ALONE = ("only in", "unit", "why", "in detail")


def compare_text(
    sorts: Sequence[Path], truth: Path | None, *, every_unit: bool, out: Path | None, csv: Path | None, **how: Any
) -> str:
    """Compare, with the arguments of ``compare_sorts``; return tables of what came out, and where the page is."""
    from spikelab.spike_sorting.comparison import compare_sorts

    given = [*sorts, *([] if truth is None else [truth])]
    if len(given) < 2:
        raise click.UsageError("give at least two: results folders, files of units, or one and --truth")
    compared = compare_sorts(*given, truth=truth is not None, units="all" if every_unit else "curated", **how)
    lines = list(_lines(compared))
    if csv is not None:
        compared.to_csv(csv)
        lines += ["", f"tables written to {printable(str(csv))}"]
    if out is not None:
        lines += ["", f"to see it, open {printable(str(compared.to_html(out)))}"]
    return "\n".join(lines)


def _lines(compared: Comparison) -> Iterator[str]:
    header = ("sort", "units compared", "found")
    yield table(header, [(str(one["name"]), str(one["n_units"]), str(one["n_found"])) for one in compared.sorts])
    yield ""
    yield from _matched(compared) if compared.truth is None else _judged(compared)
    if compared.consensus:
        counts = Counter(row["n_agree"] for row in compared.consensus)
        agreed = ", ".join(f"{counts[n]} in {n}" for n in sorted(counts, reverse=True))
        yield f"units by how many sorts have them: {agreed}"
    yield from _alone(compared)
    yield from _differing("setting", compared.settings)
    yield from _differing("version", compared.versions)


def _differing(what: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if rows:
        header = (f"{what}s that differ", *(name for name in rows[0] if name != "name"))
        yield "\n" + table(header, [tuple(map(_shown, row.values())) for row in rows])


def _matched(compared: Comparison) -> Iterator[str]:
    for first, other in combinations(compared.names, 2):
        agreements = [row["agreement"] for row in compared.matched if (row["a"], row["b"]) == (first, other)]
        n_units = {0: "no unit is the same", 1: "one unit is the same"}.get(
            len(agreements), f"{len(agreements)} units are the same"
        )
        median = f", with a median agreement of {np.median(agreements):.2f}" if agreements else ""
        yield f"{first} and {other}: {n_units}{median}"


def _judged(compared: Comparison) -> Iterator[str]:
    measures = ("accuracy", "recall", "precision")
    header = (f"unit of {compared.truth}", "found in", "unit", *measures)
    rows = [
        (
            str(row["unit_b"]),
            str(row["a"]),
            _shown(row["unit_a"]) + ("" if row["found"] else " (not found)"),
            *(f"{row[name]:.2f}" for name in measures),
        )
        for row in compared.matched
    ]
    yield table(header, rows)


def _alone(compared: Comparison) -> Iterator[str]:
    rows = compared.alone
    if not rows:
        return
    shown = [(str(row["in"]), str(row["unit"]), str(row["why"]), str(row["detail"])) for row in rows[:MOST_ROWS]]
    yield "\n" + table(ALONE, shown)
    if len(rows) > MOST_ROWS:
        counts = Counter(row["why"] for row in rows)
        reasons = ", ".join(f"{count} {why}" for why, count in counts.most_common())
        yield f"{len(rows) - MOST_ROWS} more; all {len(rows)}: {reasons}; --out and --csv write them all"


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
