"""``validation.html``: all that a validation tells of a sort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.validation import FOUND
from spikelab.spike_sorting.report import _page
from spikelab.spike_sorting.report import _validation_plots as plots
from spikelab.spike_sorting.report._table import table
from spikelab.spike_sorting.report._validation import LARGE_MAP, map_of, summary_words
from spikelab.system import files

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.curation.palette import Palette
    from spikelab.spike_sorting.data import Validation
    from spikelab.spikedata import SpikeData

VALIDATION_PAGE = "validation.html"
MEASURES = ("accuracy", "recall", "precision")
SHOWN = ("accuracy", "snr")  # in the first, large picture
REPORT = "report.html"
# Columns of the tables: key, heading, whether it holds numbers.
INJECTED = (
    ("number", "Neuron", True), ("round", "Round", True), ("found", "Found", False), ("accuracy", "Accuracy", True),
    ("recall", "Recall", True), ("precision", "Precision", True), ("snr", "SNR", True), ("rate", "Rate (Hz)", True),
    ("n_spikes", "Spikes", True), ("donor", "Like unit", True), ("channel", "Channel", False), ("x", "x (um)", True),
    ("y", "y (um)", True),
)  # fmt: skip
EXPECTED = (
    ("unit", "Unit", True), ("outcome", "Outcome", False), ("expected_accuracy", "Expected accuracy", True),
    ("expected_accuracy_low", "Low", True), ("expected_accuracy_high", "High", True),
    ("expected_recall", "Recall", True), ("expected_precision", "Precision", True), ("stability", "Stability", True),
    ("alike", "Known neurons alike", True), ("snr", "SNR", True), ("n_spikes", "Spikes", True),
)  # fmt: skip


def write_validation(
    results: Path,
    name: str,
    found: Validation | None,
    units: SpikeData,
    outcome: CurationOutcome,
    palette: Palette,
    source: Any,
) -> bool:
    """Write ``validation.html``, or delete that of an earlier run where nothing is validated.

    Returns False where the page there was made from the same runs, or there is none.
    """
    page = results / VALIDATION_PAGE
    if found is None:
        page.unlink(missing_ok=True)
        return False
    if _page.is_current(page, source):
        return False
    files.write_text(page, _page.sealed(render_validation(name, found, units, outcome, palette), source))
    return True


def render_validation(
    name: str, found: Validation, units: SpikeData, outcome: CurationOutcome, palette: Palette
) -> str:
    """Render the page as HTML."""
    kept = set(outcome.sd_curated.unit_ids)
    expected, n_known = plots.expected_picture(found, kept, plots.LARGE, REPORT)
    maps = [map_of(found, units, measure, LARGE_MAP) for measure in MEASURES]
    return _page.render(
        "validation.html.j2",
        palette=palette,
        name=name,
        report=REPORT,
        words=summary_words(found, kept),
        curve=plots.over(found, "accuracy", "snr", plots.LARGE),
        has_curve=found.summary.get("curve") is not None,
        expected=expected,
        n_unknown=len(found.units) - n_known,
        over=[
            (along, [plots.over(found, measure, axis) for measure in MEASURES if (measure, axis) != SHOWN])
            for axis, (_, along) in plots.AXES.items()
        ],
        maps=[(measure, drawn) for measure, drawn in zip(MEASURES, maps, strict=True) if drawn is not None],
        ramp=plots.ramp(),
        least=FOUND,
        injected=_injected(found),
        units=_units(found, units, kept),
    )


def _injected(found: Validation) -> dict[str, Any]:
    """Make the table of the known neurons."""
    columns = [one for one in INJECTED if one[0] != "round" or found.summary["rounds"] > 1]
    rows = [
        row | {"number": place, "round": row["round"] + 1, "found": "yes" if row["accuracy"] >= FOUND else "no"}
        for place, row in enumerate(found.injected, start=1)
    ]
    return table("injected", columns, rows, [("found", "Found", "all", ["yes", "no"])])


def _units(found: Validation, units: SpikeData, kept: set[Any]) -> dict[str, Any]:
    """Make the table of what to expect of the units."""
    rows = []
    for unit, train in zip(units.unit_attributes, units.train, strict=True):
        values = found.units.get(unit["unit_id"])
        if values is None:
            continue
        known = {name: value for name, value in values.items() if np.isfinite(value)}
        own = {"unit": unit["unit_id"], "snr": unit.get("snr"), "n_spikes": len(train), "alike": int(values["alike"])}
        rows.append(known | own | {"outcome": "kept" if unit["unit_id"] in kept else "not kept"})
    return table("expected", EXPECTED, rows, [("outcome", "Outcome", "any", ["kept", "not kept"])])
