"""Units that look right and were dropped all the same: by a threshold, although nothing speaks against them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.curation.criteria import Criterion, in_force
from spikelab.spike_sorting.settings.presets import CURATE_BY_EVIDENCE
from spikelab.spikedata._merge import coincident
from spikelab.spikedata._one_neuron import DUPLICATE_SHARE, JITTER_MS
from spikelab.spikedata.curation import isi_violations

if TYPE_CHECKING:
    from spikelab.spike_sorting.curation.outcome import CurationOutcome
    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData

NAMED = 20  # units that a sentence names, at most


@dataclass(frozen=True)
class Doubt:
    """Units that were dropped by the same thresholds, and look right."""

    missed: list[tuple[Criterion, Any]]  # with the thresholds
    rows: list[dict[str, Any]]  # of the table of unit metrics

    def __str__(self) -> str:
        count, one = len(self.rows), len(self.rows) == 1
        ids = ", ".join(str(row["unit_id"]) for row in self.rows[:NAMED])
        ids += f" and {count - NAMED} more" if count > NAMED else ""
        causes = " and ".join(
            f"{criterion.setting} = {threshold:g} ({_range(self._values(criterion))})"
            for criterion, threshold in self.missed
        )
        cures = " and ".join(f"{criterion.setting}={self._cure(criterion)}" for criterion, _ in self.missed)
        keep = "keep" if len(self.missed) > 1 else "keeps"
        return (
            f"{'1 unit looks' if one else f'{count} units look'} right and {'was' if one else 'were'} dropped by "
            f"{causes}: {ids}. {'Its' if one else 'Their'} spikes are no noise (SNR {_range(self._of('snr'))}, "
            f"significance {_range(self._of('significance'))}, where noise reaches 6), with few violations of the "
            f"refractory period, and are no other unit's. {cures} {keep} {'it' if one else 'them'}; "
            f"so does the preset 'evidence'"
        )

    def _of(self, name: str) -> list[float]:
        return [float(row[name]) for row in self.rows]

    def _values(self, criterion: Criterion) -> list[float]:
        return self._of(criterion.metric.name)

    def _cure(self, criterion: Criterion) -> str:
        """Write the threshold that all of the units meet, rounded to the side on which they lie."""
        values = self._values(criterion)
        worst, rounded = (min(values), math.floor) if criterion.direction == "min" else (max(values), math.ceil)
        if not math.isfinite(worst):
            return "none"
        digits = 2 - math.floor(math.log10(abs(worst))) if worst else 0
        return f"{rounded(worst * 10.0**digits) / 10.0**digits:g}" if digits > 0 else f"{rounded(worst)}"


def doubts(units: SpikeData, outcome: CurationOutcome, config: CurationConfig) -> list[Doubt]:
    """Group the units that look right by the thresholds that they miss.

    A unit looks right by the measures of the preset "evidence", where half of its spikes or more are its own.
    """
    by_causes: dict[tuple[str, ...], Doubt] = {}
    violations = dict(zip(units.unit_ids, isi_violations(units, method="certain").tolist(), strict=True))
    for row in outcome.unit_metrics:
        missed = [] if row["passed"] or row["failed_round"] == "merge" else _missed(row, config)
        if missed and _looks_right(row, violations[row["unit_id"]]) and _is_its_own(units, outcome, row["unit_id"]):
            causes = tuple(criterion.setting for criterion, _ in missed)
            by_causes.setdefault(causes, Doubt(missed, [])).rows.append(row)
    return sorted(by_causes.values(), key=lambda doubt: -len(doubt.rows))


def _missed(row: dict[str, Any], config: CurationConfig) -> list[tuple[Criterion, Any]]:
    return [
        (criterion, threshold)
        for criterion, threshold in in_force(config)
        if not bool(criterion.passes(np.array(row[criterion.metric.name]), threshold))
    ]


def _looks_right(row: dict[str, Any], violation: float) -> bool:
    least, most = CURATE_BY_EVIDENCE["significance_min"], CURATE_BY_EVIDENCE["isi_viol_max"]
    enough = row["spike_count"] >= CURATE_BY_EVIDENCE["spikes_min_first"]
    return bool(enough and row["significance"] >= least and violation <= most)


def _is_its_own(units: SpikeData, outcome: CurationOutcome, unit_id: int) -> bool:
    """Tell whether no kept unit has most of the spikes."""
    train = units.train[units.unit_ids.index(unit_id)]
    shares = (coincident(train, kept, JITTER_MS).mean() for kept in outcome.sd_curated.train)
    return max(shares, default=0.0) < DUPLICATE_SHARE


def _range(values: list[float]) -> str:
    low, high = (f"{value:.3g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
