"""Both rounds of curation, and the merge of duplicates after them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelab.spike_sorting.curation.criteria import CRITERIA, LIMITS, Round, in_force, metrics
from spikelab.spike_sorting.curation.outcome import (
    BY_HAND,
    DROP,
    KEEP,
    MERGE,
    CurationOutcome,
    NamedResult,
    RoundResults,
    merge_but_kept,
    merge_parameters,
)
from spikelab.spikedata.curation import build_curation_history

if TYPE_CHECKING:
    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData
    from spikelab.spikedata._base import CriterionResult
    from spikelab.spikedata._merge import Evidence

IntArray = NDArray[np.int64]
NOT_NUMBERS = ("unit_id", "channel", "channel_id", "electrode", "template_peak_ind", "sorter_unit_id", "group")


def curate_two_rounds(sd_all: SpikeData, config: CurationConfig) -> CurationOutcome:
    """Apply the criteria of both rounds to all units of the sort.

    First round (``curate_first``): spike_count >= spikes_min_first, firing_rate >= fr_min (Hz, over the duration of
    the recording), isi_violation <= isi_viol_max (intervals under 1.5 ms, ``isi_violation_method``), snr >= snr_min.
    Second round (``curate_second``), on the units that passed the first one: spike_count >= spikes_min_second,
    std_norm <= std_norm_max. Then ``metric_limits``, lowest and highest values of any metrics. A threshold of None
    leaves its criterion out; NaN fails. With ``merge_duplicates``, units that passed all of that and are one neuron
    found twice are merged (:func:`~spikelab.spikedata.curation.curate_by_merge_duplicates` with
    ``merge_duplicates_params``). With ``curation_epoch`` all metrics are those of this epoch alone: its spikes, its
    duration, and its own snr and std_norm where the units have ``epoch_snr`` and ``epoch_std_norm``; metrics of
    ``metric_limits`` that are no criterion otherwise stay those of the recording. Units that pass keep their spikes in
    all epochs.

    Units with the attribute ``decided`` are kept (``"keep"``) or not (``"drop"``), whatever the criteria say; one that
    is kept is merged into no other.
    """
    _require_limited(sd_all, config)
    measured = _measured_part(sd_all, config.curation_epoch)
    ids = np.array(sd_all.unit_ids, dtype=np.int64)
    after_first, ids_first, first = _apply_round("first", measured, ids, config)
    after_second, ids_second, second = _apply_round("second", after_first, ids_first, config)
    _, ids_passed, limits = _apply_round("limits", after_second, ids_second, config)
    sd_first = sd_all.subset(np.isin(ids, ids_first))
    ids_curated, by_hand = _by_hand(sd_all, ids, ids_passed)
    sd_curated, merged, evidence = _merge(sd_all.subset(np.isin(ids, ids_curated)), config)
    rounds = {"first": first, "second": second, "limits": limits, "hand": by_hand, "merge": merged}
    history = _history(sd_all, sd_curated, rounds, config)
    if merged:
        history["merges"] = evidence
    return CurationOutcome(
        sd_first=sd_first,
        sd_curated=sd_curated,
        first=first,
        second=second,
        history=history,
        unit_metrics=_unit_metrics(measured, ids, rounds, evidence, config),
        limits=limits,
        merged=merged,
        by_hand=by_hand,
    )


def _require_limited(sd: SpikeData, config: CurationConfig) -> None:
    """Raise ValueError for a limit on a metric that no unit has."""
    attributes = {name for unit in sd.unit_attributes for name, value in unit.items() if np.isscalar(value)}
    known = {*attributes, *(criterion.metric.name for criterion in CRITERIA)} - set(NOT_NUMBERS)
    unknown = [name for name in config.metric_limits or {} if name not in known]
    if sd.N and unknown:
        raise ValueError(
            f"{LIMITS!r} has limits on {unknown[0]!r}, which no unit has: it was not computed (a metric that could not "
            "be is in the log), or this sorter does not measure it. Units have "
            f"{', '.join(sorted(known))}. What was sorted is kept: the same call goes on from there"
        )


def _measured_part(sd: SpikeData, epoch: int | None) -> SpikeData:
    """Select the spikes that the metrics are measured on: all, or those of one epoch."""
    require_epoch(epoch, len(sd.metadata.get("rec_chunks_ms", ())))
    return sd if epoch is None else sd.split_epochs()[epoch]


def require_epoch(curation_epoch: int | None, n_epochs: int) -> None:
    """Check that a recording of `n_epochs` has the epoch `curation_epoch`; None stands for all epochs."""
    if curation_epoch is None or (n_epochs > 1 and 0 <= curation_epoch < n_epochs):
        return
    there_are = f"there are {n_epochs}, counted from 0" if n_epochs > 1 else "the recording has no epochs"
    raise ValueError(f"'curation_epoch' is {curation_epoch}, but {there_are}; set it to None to curate on everything")


def _apply_round(
    which: Round, sd: SpikeData, ids: IntArray, config: CurationConfig
) -> tuple[SpikeData, IntArray, RoundResults]:
    """Apply the criteria of one round, each to the units that passed those before: units left, their ids, results."""
    results: RoundResults = {}
    for criterion, threshold in in_force(config):
        if criterion.round != which:
            continue
        if which == "limits":
            values = criterion.metric.values(sd, config)
            result: CriterionResult = {"metric": values, "passed": criterion.passes(values, threshold)}
            sd = sd.subset(result["passed"])
        else:
            sd, result = criterion.metric.apply(sd, threshold, config)
        results[criterion.metric.name] = {"unit_ids": ids, **result}
        ids = ids[result["passed"]]
    return sd, ids, results


def _merge(sd: SpikeData, config: CurationConfig) -> tuple[SpikeData, RoundResults, list[Evidence]]:
    """Merge duplicates where that is switched on: the units that are left, the results, the evidence."""
    parameters = merge_parameters(asdict(config))
    if parameters is None:
        return sd, {}, []
    merged, result, evidence = merge_but_kept(sd, parameters)
    return merged, {MERGE: result}, evidence


def _by_hand(sd: SpikeData, ids: IntArray, ids_passed: IntArray) -> tuple[IntArray, RoundResults]:
    """Apply what a person decided to all units, of which some passed the criteria: ids that are left, and results."""
    said = [unit.get("decided") for unit in sd.unit_attributes]
    if not any(said):
        return ids_passed, {}
    values = np.array([{KEEP: 1.0, DROP: 0.0}.get(str(verdict), np.nan) for verdict in said])
    reached = np.isin(ids, ids_passed) | (values == 1.0)
    passed = values[reached] != 0.0
    result = {"unit_ids": ids[reached], "metric": values[reached], "passed": passed}
    return ids[reached][passed], {BY_HAND: result}  # type: ignore[dict-item]


def _history(
    sd_all: SpikeData, sd_curated: SpikeData, rounds: dict[str, RoundResults], config: CurationConfig
) -> dict[str, Any]:
    """Record all rounds together; a criterion that was applied before has the round behind its name: ``_second``."""
    results: Any = {}
    for which, applied in rounds.items():
        for name, value in applied.items():
            unique = f"{name}_{which}" if name in results else name
            results[unique] = {"metric": value["metric"], "passed": value["passed"]}
    # Units that are kept by hand come back: what follows covers units that did not reach it by the criteria.
    after = {name: results.pop(name) for name in (BY_HAND, MERGE) if rounds["hand"] and name in results}
    history = build_curation_history(sd_all, sd_curated, results, parameters=asdict(config))
    for name in after:
        _add_round(history, name, (rounds["hand"] | rounds["merge"])[name])
    decisions = sd_all.metadata.get("curation_history", {}).get("decisions")
    return history if decisions is None else {**history, "decisions": decisions}


def _add_round(history: dict[str, Any], name: str, result: NamedResult) -> None:
    """Add one round to a history as ``build_curation_history`` has the others."""
    ids, passed = result["unit_ids"], result["passed"]
    values = [None if np.isnan(value) else value for value in result["metric"].tolist()]
    history["curations"].append(name)
    history["curated"][name] = ids[passed].tolist()
    history["failed"][name] = ids[~passed].tolist()
    history["metrics"][name] = dict(zip(map(str, ids.tolist()), values, strict=True))


def _unit_metrics(
    sd: SpikeData,
    ids: IntArray,
    rounds: dict[str, RoundResults],
    evidence: list[Evidence],
    config: CurationConfig,
) -> list[dict[str, Any]]:
    """List per unit every metric, the criterion that the unit failed, and all criteria that the unit does not meet."""
    columns = {metric.name: metric.values(sd, config) for metric in metrics(config)}
    missed = _missed(columns, config)
    merged_into = {pair["other"]: pair["kept"] for pair in evidence if pair["merged"]}
    rows = []
    for index, unit in enumerate(ids.tolist()):
        failed_round, failed_criterion = _failure(unit, rounds)
        passed_first = failed_round != "first"
        decided = _decided(sd.unit_attributes[index])
        if decided.get("decided") == KEEP:
            failed_round, failed_criterion = None, None
        rows.append(
            {
                "unit_id": unit,
                **{name: values[index].item() for name, values in columns.items()},
                "passed_first": passed_first,
                "passed": failed_round is None,
                "failed_round": failed_round,
                "failed_criterion": failed_criterion,
                "failed_criteria": [name for name, units in missed.items() if units[index]],
                "merged_into": _last(merged_into, unit),
                **decided,
            }
        )
    return rows


def _decided(unit: dict[str, Any]) -> dict[str, str]:
    """Select what a person said of a unit."""
    return {name: unit[name] for name in ("decided", "label") if unit.get(name) is not None}


def _missed(columns: dict[str, Any], config: CurationConfig) -> dict[str, NDArray[np.bool_]]:
    """Mark the units that miss the threshold of each criterion in force; NaN misses every threshold."""
    missed: dict[str, NDArray[np.bool_]] = {}
    for criterion, threshold in in_force(config):
        name = criterion.metric.name
        missed[name] = missed.get(name, False) | ~criterion.passes(columns[name], threshold)
    return missed


def _last(merged_into: dict[int, int], unit: int) -> int | None:
    """Follow merges of merges to the unit that now holds the spikes of `unit`; None where it was not merged."""
    last = None
    while unit in merged_into:
        last = unit = merged_into[unit]
    return last


def _failure(unit: int, rounds: dict[str, RoundResults]) -> tuple[str | None, str | None]:
    """Find the round and the criterion that `unit` failed."""
    for which, results in rounds.items():
        for name, result in results.items():
            if unit in result["unit_ids"][~result["passed"]]:
                return which, name
    return None, None
