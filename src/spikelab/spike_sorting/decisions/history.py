"""Record of decisions for the history of a curation, and the attributes that units get from the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.decisions.model import Decisions
    from spikelab.spike_sorting.decisions.state import DecidedUnit, State
    from spikelab.spikedata import SpikeData

ATTRIBUTES = ("decided", "label", "merged_from", "split_from")
"""Neuron attributes that come from decisions; units that nobody decided on have none of them."""
HISTORY, DECISIONS = "curation_history", "decisions"


def record_of(decisions: Decisions, state: State) -> dict[str, Any]:
    """Describe decisions in plain values that ``json`` can write.

    Returns
    -------
    dict
        ``sort``: identity of the spikes; ``steps``: those that count, without the bits that say of each spike of a
        split where it goes; ``units``: of every unit that somebody decided on its ``unit_id`` and those of
        :data:`ATTRIBUTES` that it has, and of a new one ``spikes_from`` (number of spikes by unit of the sort, as
        text) and ``duplicates_removed``.
    """
    steps = [{key: value for key, value in step.items() if key != "second"} for step in decisions.counted]
    rows = [row for unit in state.units.values() if len(row := _row(unit, state)) > 1]
    return {"sort": decisions.sort, "steps": steps, "units": rows}


def _row(unit: DecidedUnit, state: State) -> dict[str, Any]:
    said = {"decided": unit.verdict, "label": unit.label}
    row: dict[str, Any] = {
        "unit_id": unit.unit_id,
        **{name: value for name, value in said.items() if value is not None},
    }
    if unit.unit_id in state.sizes:
        return row
    counts = {str(source): count for source, count in unit.spikes_from.items()}
    row |= state.origin(unit.unit_id)
    return row | {"spikes_from": counts, "duplicates_removed": sum(unit.removed.values())}


def with_decisions(units: SpikeData, record: Mapping[str, Any] | None) -> SpikeData:
    """Give units the attributes that decisions gave them, and the record to their metadata; None changes nothing."""
    if record is None:
        return units
    rows = {row["unit_id"]: row for row in record["units"]}
    attributes = [
        {**values, **{name: row[name] for name in ATTRIBUTES if name in row}}
        for values in units.unit_attributes
        for row in [rows.get(values["unit_id"], {})]
    ]
    history = {**units.metadata.get(HISTORY, {}), DECISIONS: dict(record)}
    return units.replace(neuron_attributes=attributes, metadata={**units.metadata, HISTORY: history})
