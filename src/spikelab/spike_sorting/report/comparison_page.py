"""Page of a comparison: which units sorts agree on, what each alone has and why, how their settings differ."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.report import _page
from spikelab.spike_sorting.report._svg import Frame, drawing
from spikelab.spike_sorting.report._table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

PLOT_WIDTH, PLOT_HEIGHT = 420.0, 190.0
N_BINS = 20
Table = list[dict[str, Any]]


# Columns of the tables: key, heading, whether it holds numbers.
PAIR = (("unit_a", "Unit of {a}", True), ("unit_b", "Unit of {b}", True))
AGREED = (("agreement", "Agreement", True),)
JUDGED = (
    ("found", "Found", False),
    ("accuracy", "Accuracy", True),
    ("recall", "Recall", True),
    ("precision", "Precision", True),
)
COUNTED = (
    ("n_common", "Spikes in common", True),
    ("n_a", "Spikes in {a}", True),
    ("n_b", "Spikes in {b}", True),
    ("snr", "SNR", True),
    ("amplitude", "Amplitude (uV)", True),
)
ALONE = (
    ("unit", "Unit", True),
    ("why", "Why", False),
    ("detail", "In detail", False),
    ("best_agreement", "Best agreement", True),
    ("n_spikes", "Spikes", True),
    ("snr", "SNR", True),
    ("amplitude", "Amplitude (uV)", True),
    ("label", "Label", False),
)


def render_comparison(compared: Any) -> str:
    """Write the page of a ``Comparison`` as HTML."""
    pairs = [pair for pair in combinations(compared.names, 2) if compared.truth in (None, pair[1])]
    return _page.render(
        "compare.html.j2",
        compared=compared,
        title=_listed(compared.names),
        pairs=[_pair(compared, number, *pair) for number, pair in enumerate(pairs)],
        consensus=_consensus(compared),
        differing=[_differing("settings", compared.settings), _differing("versions", compared.versions)],
    )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _pair(compared: Any, number: int, first: str, other: str) -> dict[str, Any]:
    """Gather what the page says of two sorts."""
    rows = [row for row in compared.matched if (row["a"], row["b"]) == (first, other)]
    same = [row for row in rows if row.get("found", True)]
    judged = compared.truth is not None
    sides = [(first, other), (other, first)]
    return {
        "number": number,
        "a": first,
        "b": other,
        "n_same": len(same),
        "median": float(np.median([row["agreement"] for row in same])) if same else None,
        "plot": _agreements([row["agreement"] for row in rows], compared.min_agreement, judged=judged),
        "judged": judged,
        "table": table(f"matched{number}", _columns(first, other, judged=judged), rows),
        "alone": [_alone(compared, f"alone{number}{side}", *names) for side, names in enumerate(sides)],
    }


def _columns(first: str, other: str, *, judged: bool) -> list[tuple[str, str, bool]]:
    """Return the columns of the table of matched units."""
    columns = (*reversed(PAIR), *JUDGED, *COUNTED) if judged else (*PAIR, *AGREED, *COUNTED)
    return [(key, heading.format(a=first, b=other), is_number) for key, heading, is_number in columns]


def _alone(compared: Any, key: str, own: str, other: str) -> dict[str, Any]:
    rows = [row for row in compared.alone if (row["in"], row["not_in"]) == (own, other)]
    columns = [one for one in ALONE if any(row.get(one[0]) is not None for row in rows)]
    counts = Counter(row["why"] for row in rows)
    return {
        "own": own,
        "other": other,
        "reasons": [(why, count, 100 * count / len(rows)) for why, count in counts.most_common()],
        "table": table(key, columns, rows, filters=[("why", "Why", "any", list(counts))] if len(counts) > 1 else []),
    }


def _consensus(compared: Any) -> dict[str, Any] | None:
    if not compared.consensus:
        return None
    counts = Counter(row["n_agree"] for row in compared.consensus)
    keys = {f"unit in {name}": f"sort{number}" for number, name in enumerate(compared.names)}
    units = [(key, name, True) for key, name in zip(keys.values(), compared.names, strict=True)]
    columns = [
        ("consensus", "Number", True),
        ("n_agree", "Agree", True),
        *units,
        ("least_agreement", "Least agreement", True),
    ]
    rows = [{keys.get(name, name): value for name, value in row.items()} for row in compared.consensus]
    return {
        "counts": [(n, counts.get(n, 0)) for n in range(len(compared.names), 0, -1)],
        "table": table("consensus", columns, rows),
    }


def _differing(what: str, rows: Table) -> dict[str, Any]:
    names = [name for name in (rows[0] if rows else {}) if name != "name"]
    return {
        "what": what,
        "names": [name.removeprefix("in ") for name in names],
        "rows": [[row["name"], *(_value(row[name]) for name in names)] for row in rows],
    }


def _value(value: Any) -> str:
    return "\N{EN DASH}" if value is None else str(value)


def _agreements(values: Sequence[float], least: float, *, judged: bool) -> str:
    """Draw how many pairs have which agreement."""
    if not values:
        return ""
    edges = np.linspace(0.0, 1.0, N_BINS + 1)
    counts, _ = np.histogram(values, edges)
    highest = max(1, int(counts.max()))
    frame = Frame(PLOT_WIDTH, PLOT_HEIGHT, (0.0, 1.0), (0.0, float(highest)), left=44)
    steps = sorted({0, highest // 2, highest})
    label, units = ("accuracy", "true units") if judged else ("agreement", "pairs of units")
    content = (
        frame.bars(edges, np.zeros(N_BINS), counts, "kept")
        + frame.line_at(least, "threshold")
        + frame.axes(label, units, [0, 0.25, 0.5, 0.75, 1], steps)
    )
    return drawing(PLOT_WIDTH, PLOT_HEIGHT, content, label=f"Histogram of the {label} of {len(values)} {units}")
