"""The history of a curation, as plain values."""

from __future__ import annotations

import math
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.json_files import finite_or_text, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spikedata._base import BaseSpikeData, CriterionResult


def build_curation_history(
    sd_original: BaseSpikeData,
    sd_curated: BaseSpikeData,
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

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> from spikelab.spikedata.curation import build_curation_history
    >>> sd = SpikeData([[10, 30], [35]], length=100)
    >>> kept, results = sd.curate(min_spikes=2)
    >>> build_curation_history(sd, kept, results)["failed"]
    {'spike_count': [1]}
    """
    initial = [_plain(unit) for unit in sd_original.unit_ids]
    reached = initial
    curated: dict[str, list[Any]] = {}
    failed: dict[str, list[Any]] = {}
    metrics: dict[str, dict[str, Any]] = {}
    for name, result in results.items():
        passed = np.asarray(result["passed"], dtype=bool)
        units = _units_of(name, len(passed), reached, initial)
        curated[name] = list(compress(units, passed))
        failed[name] = list(compress(units, ~passed))
        metrics[name] = dict(zip(map(str, units), map(_plain, result["metric"]), strict=True))
        gone = set(failed[name])
        reached = [unit for unit in reached if unit not in gone]
    have_ids = all("unit_id" in values for values in sd_curated.unit_attributes)
    return {
        "curation_parameters": _plain(dict(parameters or {})),
        "initial": initial,
        "curations": list(results),
        "curated": curated,
        "failed": failed,
        "metrics": metrics,
        # Units without an id are named by their index in `sd_original`.
        "curated_final": [_plain(unit) for unit in sd_curated.unit_ids] if have_ids else reached,
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
    """Return `value` without numpy types, tuples and sets; NaN becomes None, infinity a string."""
    return plain(
        value, number=_finite_or_none, other=lambda other: _plain(list(other)) if isinstance(other, set) else other
    )


def _finite_or_none(number: float) -> float | str | None:
    return None if math.isnan(number) else finite_or_text(number)
