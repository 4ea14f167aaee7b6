"""Tables that can be sorted and filtered: what the macro ``listed`` of ``controls.html.j2`` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.report import _words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Columns of numbers from 0 to 1.
SHARES = (
    "agreement", "accuracy", "recall", "precision", "best_agreement", "least_agreement", "expected_accuracy",
    "expected_accuracy_low", "expected_accuracy_high", "expected_recall", "expected_precision", "stability",
)  # fmt: skip


def table(
    key: str,
    columns: Sequence[tuple[str, str, bool]],
    rows: Sequence[Mapping[str, Any]],
    filters: Sequence[tuple[str, str, str, list[str]]] = (),
) -> dict[str, Any]:
    """Write the cells of a table; each with its text and what it is ordered by.

    Parameters
    ----------
    key : str
        The id of the table in the page.
    columns : sequence of (str, str, bool)
        Name, heading, and whether it holds numbers.
    rows : sequence of mapping
        Values by the name of the column; what is not there is a dash.
    filters : sequence of (str, str, str, list of str)
        Name of a column of texts, label, word for all of them, and the texts that can be chosen.
    """
    body = [
        {"cells": [(*column, *_cell(column[0], row.get(column[0]))) for column in columns], "of": row} for row in rows
    ]
    order = [(name, heading) for name, heading, _ in columns]
    return {"key": key, "columns": list(columns), "order": order, "rows": body, "filters": list(filters)}


def _cell(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, str):
        return value, value
    if name in SHARES and value is not None:
        return f"{value:.2f}", str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10_000:
        return str(value), str(value)  # ids are not grouped
    return _words.format_number(value), _words.sort_key(value)
