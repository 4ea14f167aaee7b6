"""The two rounds of curation."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from spikelab.spike_sorting.curation.outcome import MERGE, CurationOutcome, RoundResults, merge_parameters
from spikelab.spikedata import curation as criteria
from spikelab.spikedata._merge import Evidence, merge_duplicates

if TYPE_CHECKING:
    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData

IntArray = NDArray[np.int64]
SECOND_ROUND_SUFFIX = "_second"


def curate_two_rounds(sd_all: SpikeData, config: CurationConfig) -> CurationOutcome:
    """Apply the criteria of both rounds.

    First round (``curate_first``): spike_count >= spikes_min_first, firing_rate >= fr_min (Hz, over the duration of
    the recording), isi_violation <= isi_viol_max (intervals under 1.5 ms, ``isi_violation_method``), snr >= snr_min.
    Second round (``curate_second``), on what the first one left: spike_count >= spikes_min_second,
    std_norm <= std_norm_max. A threshold of None leaves its criterion out; NaN fails. With ``merge_duplicates``, units
    that passed both and are one neuron found twice are merged
    (:func:`~spikelab.spikedata.curation.curate_by_merge_duplicates` with ``merge_duplicates_params``).

    Parameters
    ----------
    sd_all : SpikeData
        All units of the sort.
    config : CurationConfig
        Thresholds. With ``curation_epoch`` all metrics are those of this epoch alone: its spikes, its duration, and
        its own snr and std_norm where the units have ``epoch_snr`` and ``epoch_std_norm``. What passes is kept with
        its spikes in all epochs.

    Returns
    -------
    CurationOutcome

    Raises
    ------
    ValueError
        If ``curation_epoch`` names an epoch that is not there.
    """
    judged = _judged(sd_all, config.curation_epoch)
    ids = np.array(sd_all.unit_ids, dtype=np.int64)
    after_first, first = _first_round(judged, ids, config)
    ids_first = _left(ids, first)
    _, second = _second_round(after_first, ids_first, config)
    ids_curated = _left(ids_first, second)
    sd_first = sd_all.subset(np.isin(ids, ids_first))
    sd_curated, merged, evidence = _merge(sd_all.subset(np.isin(ids, ids_curated)), config)
    history = _history(sd_all, sd_curated, [first, second, merged], config)
    if merged:
        history["merges"] = evidence
    return CurationOutcome(
        sd_first=sd_first,
        sd_curated=sd_curated,
        first=first,
        second=second,
        history=history,
        unit_metrics=_unit_metrics(judged, ids, {"first": first, "second": second, "merge": merged}, evidence, config),
        merged=merged,
    )


def _judged(sd: SpikeData, epoch: int | None) -> SpikeData:
    """Choose the data that the metrics look at: everything, or one epoch."""
    require_epoch(epoch, len(sd.metadata.get("rec_chunks_ms", ())))
    return sd if epoch is None else sd.split_epochs()[epoch]


def require_epoch(curation_epoch: int | None, n_epochs: int) -> None:
    """Check that there is an epoch `curation_epoch` among the `n_epochs` of a recording; None needs none.

    Raises
    ------
    ValueError
        If there is not, or the recording is one unbroken stretch.
    """
    if curation_epoch is None or (n_epochs > 1 and 0 <= curation_epoch < n_epochs):
        return
    there_are = f"there are {n_epochs}, counted from 0" if n_epochs > 1 else "the recording has no epochs"
    raise ValueError(f"'curation_epoch' is {curation_epoch}, but {there_are}; set it to None to curate on everything")


def _first_round(sd: SpikeData, ids: IntArray, config: CurationConfig) -> tuple[SpikeData, RoundResults]:
    if not config.curate_first:
        return sd, {}
    passed, results = sd.curate(
        min_spikes=config.spikes_min_first,
        min_rate_hz=config.fr_min,
        isi_max=config.isi_viol_max,
        isi_method=_isi_method(config),
        min_snr=config.snr_min,
    )
    return passed, _with_ids(ids, results)


def _isi_method(config: CurationConfig) -> Literal["percent", "hill"]:
    return cast('Literal["percent", "hill"]', config.isi_violation_method)  # validated with the configuration


def _second_round(sd: SpikeData, ids: IntArray, config: CurationConfig) -> tuple[SpikeData, RoundResults]:
    if not config.curate_second:
        return sd, {}
    passed, results = sd.curate(min_spikes=config.spikes_min_second, max_std_norm=config.std_norm_max)
    return passed, _with_ids(ids, results)


def _with_ids(ids: IntArray, results: dict[str, criteria.CriterionResult]) -> RoundResults:
    """Name the units that reached each criterion, given those that reached the first one."""
    named: RoundResults = {}
    for name, result in results.items():
        named[name] = {"unit_ids": ids, "metric": result["metric"], "passed": result["passed"]}
        ids = ids[result["passed"]]
    return named


def _left(ids: IntArray, results: RoundResults) -> IntArray:
    """Units of `ids` that passed every criterion."""
    for result in results.values():
        ids = result["unit_ids"][result["passed"]]
    return ids


def _merge(sd: SpikeData, config: CurationConfig) -> tuple[SpikeData, RoundResults, list[Evidence]]:
    """Merge duplicates where that is wanted: the units that are left, and the evidence."""
    parameters = merge_parameters(asdict(config))
    if parameters is None:
        return sd, {}, []
    merged, result, evidence = merge_duplicates(sd, **parameters)
    return merged, _with_ids(np.array(sd.unit_ids, dtype=np.int64), {MERGE: result}), evidence


def _history(
    sd_all: SpikeData, sd_curated: SpikeData, rounds: list[RoundResults], config: CurationConfig
) -> dict[str, Any]:
    """All rounds in one record; a criterion that was there before has ``_second`` behind its name."""
    results: Any = {}
    for criteria_of_round in rounds:
        for name, value in criteria_of_round.items():
            unique = name + SECOND_ROUND_SUFFIX if name in results else name
            results[unique] = {"metric": value["metric"], "passed": value["passed"]}
    return criteria.build_curation_history(sd_all, sd_curated, results, parameters=asdict(config))


def _unit_metrics(
    sd: SpikeData,
    ids: IntArray,
    rounds: dict[str, RoundResults],
    evidence: list[Evidence],
    config: CurationConfig,
) -> list[dict[str, Any]]:
    """Every metric of every unit, the criterion that it failed, and all those that it does not meet."""
    columns = {
        "spike_count": criteria.curate_by_min_spikes(sd, None)[1]["metric"],
        "firing_rate": criteria.curate_by_firing_rate(sd, None)[1]["metric"],
        "isi_violation": criteria.curate_by_isi_violations(sd, None, method=_isi_method(config))[1]["metric"],
        "snr": criteria.curate_by_snr(sd, None)[1]["metric"],
        "std_norm": criteria.curate_by_std_norm(sd, None)[1]["metric"],
    }
    missed = _missed(columns, config)
    merged_into = {pair["other"]: pair["kept"] for pair in evidence if pair["merged"]}
    rows = []
    for index, unit in enumerate(ids.tolist()):
        failed_round, failed_criterion = _failure(unit, rounds)
        rows.append(
            {
                "unit_id": unit,
                **{name: values[index].item() for name, values in columns.items()},
                "passed_first": failed_round != "first",
                "passed": failed_round is None,
                "failed_round": failed_round,
                "failed_criterion": failed_criterion,
                "failed_criteria": [name for name, units in missed.items() if units[index]],
                "merged_into": _last(merged_into, unit),
            }
        )
    return rows


def _missed(columns: dict[str, Any], config: CurationConfig) -> dict[str, NDArray[np.bool_]]:
    """Which units miss the threshold of each criterion that is switched on; NaN misses it."""
    missed: dict[str, NDArray[np.bool_]] = {}
    for switch, name, sign, threshold in (
        (config.curate_first, "spike_count", 1, config.spikes_min_first),
        (config.curate_first, "firing_rate", 1, config.fr_min),
        (config.curate_first, "isi_violation", -1, config.isi_viol_max),
        (config.curate_first, "snr", 1, config.snr_min),
        (config.curate_second, "spike_count", 1, config.spikes_min_second),
        (config.curate_second, "std_norm", -1, config.std_norm_max),
    ):
        if switch and threshold is not None:
            misses = ~(sign * columns[name] >= sign * threshold)
            missed[name] = missed[name] | misses if name in missed else misses
    return missed


def _last(merged_into: dict[int, int], unit: int) -> int | None:
    """The unit in which `unit` is now, after merges of merges."""
    last = None
    while unit in merged_into:
        last = unit = merged_into[unit]
    return last


def _failure(unit: int, rounds: dict[str, RoundResults]) -> tuple[str | None, str | None]:
    """Round and criterion that `unit` failed."""
    for which, results in rounds.items():
        for name, result in results.items():
            if unit in result["unit_ids"][~result["passed"]]:
                return which, name
    return None, None
