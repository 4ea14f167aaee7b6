"""The outcome of curation, and its files: ``curation.json`` and ``unit_metrics.csv``."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.curation.criteria import metrics
from spikelab.spike_sorting.data.spike_trains import MEASURES, TOLD
from spikelab.spikedata._base import CriterionResult
from spikelab.spikedata._merge import Evidence, merge_duplicates
from spikelab.system import files
from spikelab.system.json_files import finite_or_text, plain, read_object, readable
from spikelab.system.quoting import in_spreadsheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spikedata import SpikeData


MERGE = "merge_duplicates"
BY_HAND, KEEP, DROP = "by hand", "keep", "drop"
QUALITY_PREFIX = "si_"
PLUGIN_METRICS = "plugin_metrics"  # in the metadata: metrics of other packages, and what they say of themselves
# Neuron attributes: what the sorter called a unit, where it lies and how large its spikes are.
PLACE_COLUMNS = ("sorter_unit_id", "group", "channel_id", "electrode", "x", "y", "amplitude", "has_pos_peak", *MEASURES)
VERDICT_COLUMNS = ("passed_first", "passed", "failed_round", "failed_criterion", "failed_criteria", "merged_into")
DECIDED_COLUMNS = ("decided", "label", "merged_from", "split_from")  # neuron attributes that come from decisions
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class NamedResult(CriterionResult):
    """Result of one criterion, with the ids of the units that reached the criterion, shape (units,)."""

    unit_ids: NDArray[np.int64]


RoundResults = dict[str, NamedResult]


@dataclass(frozen=True)
class CurationOutcome:
    """Outcome of :func:`~spikelab.spike_sorting.curation.curate_two_rounds`."""

    sd_first: SpikeData = field(repr=False)  # units after the first round
    sd_curated: SpikeData  # units that are kept
    # Criteria in the order in which they were applied; empty for a round that is switched off.
    first: RoundResults = field(repr=False)
    second: RoundResults = field(repr=False)
    # As from ``build_curation_history``; with ``merge_duplicates`` also ``merges``: the evidence on each pair of units.
    history: dict[str, Any] = field(repr=False)
    # One row per unit of the sort: unit_id, every metric, passed_first, passed, failed_round and failed_criterion (the
    # first one that the unit failed, None for a unit that is kept), failed_criteria (every one whose threshold the unit
    # misses, whether or not the unit reached it) and merged_into (unit id or None).
    unit_metrics: list[dict[str, Any]] = field(repr=False)
    # ``merge_duplicates``: of the units that passed both rounds, which stayed; empty where merging is switched off.
    merged: RoundResults = field(default_factory=dict, repr=False)
    limits: RoundResults = field(default_factory=dict, repr=False)  # ``metric_limits``, after both rounds
    # What a person decided of the units that the criteria left and of those that are kept in spite of them: metric is
    # 1 for "keep", 0 for "drop" and NaN for neither; empty where nobody decided anything.
    by_hand: RoundResults = field(default_factory=dict, repr=False)

    @property
    def n_second(self) -> int:
        """Number of units that passed both rounds, before ``metric_limits``, decisions and the merge of duplicates."""
        last = [*self.second.values()][-1:]
        return int(last[0]["passed"].sum()) if last else self.sd_first.N

    def save(self, path: Path) -> None:
        """Write everything but the spikes as JSON, NaN and infinity as the strings "nan", "inf" and "-inf"."""
        content = {
            "first_unit_ids": self.sd_first.unit_ids,
            "curated_unit_ids": self.sd_curated.unit_ids,
            "first": self.first,
            "second": self.second,
            "limits": self.limits,
            "merged": self.merged,
            "history": self.history,
            "unit_metrics": self.unit_metrics,
        } | ({"by_hand": self.by_hand} if self.by_hand else {})
        files.write_text(path, readable(plain(content, number=finite_or_text), allow_nan=False))

    @classmethod
    def load(cls, path: Path, sd_all: SpikeData) -> CurationOutcome:
        """Read what :meth:`save` wrote; the curated units are taken from all units of the sort."""
        content = read_object(path)
        history, merged = content["history"], _arrays(content.get("merged", {}))
        return cls(
            sd_first=sd_all.subset(content["first_unit_ids"], by="unit_id", preserve_order=True),
            sd_curated=_curated(sd_all, content["curated_unit_ids"], merged, history["curation_parameters"]),
            first=_arrays(content["first"]),
            second=_arrays(content["second"]),
            history=history,
            unit_metrics=_decode(content["unit_metrics"]),
            merged=merged,
            limits=_arrays(content.get("limits", {})),
            by_hand=_arrays(content.get("by_hand", {})),
        )

    def write_csv(self, path: Path, units: SpikeData | None = None) -> None:
        """Write `unit_metrics` as a table with one line per unit.

        A text that a spreadsheet would run as a formula, such as a channel called ``=A1``, gets an apostrophe in front.
        With all `units` of the sort the table also gets, where they have them, the sorter's own id, group, main channel
        and its position (um), amplitude (uV), how far it moved, the metrics whose name starts with ``si_``, those
        of other packages, and what another program said of the units that it found (``imported_``).
        """
        attributes = {} if units is None else dict(zip(units.unit_ids, units.unit_attributes, strict=True))
        others = () if units is None else tuple(units.metadata.get(PLUGIN_METRICS, ()))
        columns = [*_csv_columns({name for values in attributes.values() for name in values}), *others]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in self.unit_metrics:
            cells = attributes.get(row["unit_id"], {}) | row
            writer.writerow([in_spreadsheet(_cell(cells.get(name))) for name in columns])
        files.write_text(path, text.getvalue())


def _cell(value: Any) -> Any:
    return "; ".join(map(str, value)) if isinstance(value, list) else value


def _csv_columns(attributes: set[str]) -> list[str]:
    place = [name for name in PLACE_COLUMNS if name in attributes]
    quality = sorted(name for name in attributes if name.startswith(QUALITY_PREFIX))
    told = sorted(name for name in attributes if name.startswith(TOLD))
    by_hand = [name for name in DECIDED_COLUMNS if name in attributes]
    return ["unit_id", *place, *(metric.name for metric in metrics()), *VERDICT_COLUMNS, *by_hand, *quality, *told]


def is_rescued(row: Mapping[str, Any]) -> bool:
    """Whether a row of `unit_metrics` is that of a unit that is kept by hand in spite of criteria that it misses."""
    return bool(row["passed"] and row.get("decided") == KEEP and row.get("failed_criteria"))


def merge_parameters(curation_parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the parameters of the merge of duplicates; None where merging is switched off."""
    if not curation_parameters.get("merge_duplicates"):
        return None
    return dict(curation_parameters.get("merge_duplicates_params") or {})


def _curated(
    sd_all: SpikeData, curated_ids: list[Any], merged: RoundResults, curation_parameters: dict[str, Any]
) -> SpikeData:
    """Select the units that are kept; merged trains are not stored, but merged again."""
    parameters = merge_parameters(curation_parameters)
    if parameters is None:
        return sd_all.subset(curated_ids, by="unit_id", preserve_order=True)
    passed = sd_all.subset(merged[MERGE]["unit_ids"].tolist(), by="unit_id", preserve_order=True)
    sd, _, _ = merge_duplicates(passed, **parameters)
    apart = set(curated_ids) - set(passed.unit_ids)
    if apart:
        sd = beside(sd, sd_all.subset([unit in apart for unit in sd_all.unit_ids]), sd_all.unit_ids)
    if sd.unit_ids != curated_ids:
        raise FileNotFoundError(f"the merged units {curated_ids}; merging gives {sd.unit_ids} now")
    return sd


def merge_but_kept(sd: SpikeData, parameters: dict[str, Any]) -> tuple[SpikeData, NamedResult, list[Evidence]]:
    """Merge duplicates; a unit that a person keeps is merged into no other one."""
    kept = {unit["unit_id"] for unit in sd.unit_attributes if unit.get("decided") == KEEP}
    apart: set[int] = set()
    while True:
        taken = sd.subset([unit not in apart for unit in sd.unit_ids]) if apart else sd
        merged, result, evidence = merge_duplicates(taken, **parameters)
        lost = kept.intersection(taken.unit_ids) - set(merged.unit_ids)
        if not lost:
            break
        apart |= lost
    if apart:
        merged = beside(merged, sd.subset([unit in apart for unit in sd.unit_ids]), sd.unit_ids)
    ids = np.array(taken.unit_ids, dtype=np.int64)
    return merged, {"unit_ids": ids, "metric": result["metric"], "passed": result["passed"]}, evidence


def beside(first: SpikeData, second: SpikeData, order: Sequence[Any]) -> SpikeData:
    """Put the units of both together, in the order of their ids in `order`."""
    pairs = [
        *zip(first.train, first.unit_attributes, strict=True),
        *zip(second.train, second.unit_attributes, strict=True),
    ]
    rank = {unit: position for position, unit in enumerate(order)}
    pairs.sort(key=lambda pair: rank[pair[1]["unit_id"]])
    return first.replace(train=[train for train, _ in pairs], neuron_attributes=[values for _, values in pairs])


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    return NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _arrays(results: dict[str, Any]) -> RoundResults:
    return {
        name: {
            "unit_ids": np.array(result["unit_ids"], dtype=np.int64),
            "metric": np.array(_decode(result["metric"]), dtype="int64" if name == "spike_count" else "float64"),
            "passed": np.array(result["passed"], dtype=bool),
        }
        for name, result in results.items()
    }
