"""The record of a curation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from spikelab.spikedata._results import CriterionResult
    from spikelab.spikedata.spikedata import SpikeData


def build_curation_history(
    sd_original: SpikeData,
    sd_curated: SpikeData,
    results: Mapping[str, CriterionResult],
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe a curation by unit ids, as plain values that ``json`` can write.

    Parameters
    ----------
    sd_original, sd_curated : SpikeData
        Before and after. Units are named by their attribute ``unit_id``, else by their index in `sd_original`.
    results : mapping of str to dict
        What each criterion returned, in the order of application: its arrays cover either the units that passed the
        criteria before it (as from ``curate``) or all units of `sd_original`.
    parameters : mapping, optional
        The thresholds, kept as they are (numpy values become plain ones).

    Returns
    -------
    dict
        ``curation_parameters``; ``initial`` (unit ids); ``curations`` (names of the criteria); ``curated`` and
        ``failed`` (unit ids per criterion); ``metrics`` (per criterion, value by unit id as a string; None for NaN);
        ``curated_final`` (unit ids).

    Raises
    ------
    ValueError
        The arrays of a criterion fit neither set of units.
    """
    initial = [_plain(unit) for unit in sd_original.unit_ids]
    reached = initial
    curated: dict[str, list[Any]] = {}
    failed: dict[str, list[Any]] = {}
    metrics: dict[str, dict[str, Any]] = {}
    for name, result in results.items():
        units = _units_of(name, len(result["passed"]), reached, initial)
        verdicts = list(zip(units, result["passed"], strict=True))
        curated[name] = [unit for unit, passed in verdicts if passed]
        failed[name] = [unit for unit, passed in verdicts if not passed]
        metrics[name] = {str(unit): _plain(value) for unit, value in zip(units, result["metric"], strict=True)}
        rejected = set(failed[name])
        reached = [unit for unit in reached if unit not in rejected]
    has_ids = all("unit_id" in values for values in sd_curated.neuron_attributes)
    return {
        "curation_parameters": _plain(dict(parameters or {})),
        "initial": initial,
        "curations": list(results),
        "curated": curated,
        "failed": failed,
        "metrics": metrics,
        "curated_final": [_plain(unit) for unit in sd_curated.unit_ids] if has_ids else reached,
    }


def _units_of(name: str, n_results: int, reached: list[Any], initial: list[Any]) -> list[Any]:
    for units in (reached, initial):
        if len(units) == n_results:
            return units
    raise ValueError(
        f"the result of {name!r} covers {n_results} units; expected {len(reached)} (those that reached it) or "
        f"{len(initial)} (all)"
    )


def _plain(value: Any) -> Any:
    """`value` with numpy types, tuples and sets made plain and NaN or infinity made None or a string."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
