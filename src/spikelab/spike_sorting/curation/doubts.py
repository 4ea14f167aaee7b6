"""Units that look right and were dropped all the same: by a threshold, although nothing speaks against them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.curation.criteria import LIMITS, Criterion, in_force
from spikelab.spike_sorting.settings.presets import CURATE_BY_EVIDENCE
from spikelab.spikedata._merge import coincident
from spikelab.spikedata._one_neuron import DUPLICATE_SHARE, JITTER_MS
from spikelab.spikedata.curation import isi_violations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from spikelab.spike_sorting.curation.outcome import CurationOutcome
    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData

NAMED = 20  # units that a sentence names, at most
SMALL_SNR = (3.0, 5.0)  # from, and below, of a unit that is small but clean


@dataclass(frozen=True)
class Doubt:
    """Units that were dropped by the same thresholds, and look right."""

    missed: list[tuple[Criterion, Any]]  # with the thresholds
    rows: list[dict[str, Any]]  # of the table of unit metrics
    limits: Mapping[str, Any]  # the setting ``metric_limits``
    small: bool = False  # only too small for the threshold on SNR, and within `SMALL_SNR`

    def __str__(self) -> str:
        one = len(self.rows) == 1
        causes = " and ".join(_named(criterion, threshold) for criterion, threshold in self.missed)
        names = dict.fromkeys(criterion.metric.name for criterion, _ in self.missed)
        values = " and ".join(f"{name} is {_range(self._of(name))}" for name in names)
        return (
            f"{self._who()} dropped by {causes}: unit{'' if one else 's'} {self._ids()}, whose {values}. Yet "
            f"{'it is' if one else 'they are'} more than noise (SNR {_range(self._of('snr'))}, significance "
            f"{_range(self._of('significance'))}; noise reaches 6), with few violations of the refractory period and "
            f"few spikes of a unit that is kept. To keep {'it' if one else 'them'}, "
            f"{ways(self.cures(), by_preset=self.preset_keeps)}"
        )

    def _who(self) -> str:
        count = len(self.rows)
        if self.small:
            return f"{count} small but clean {'unit was' if count == 1 else 'units were'}"
        return "1 unit looks right and was" if count == 1 else f"{count} units look right and were"

    def _ids(self) -> str:
        ids = ", ".join(str(row["unit_id"]) for row in self.rows[:NAMED])
        return ids + (f" and {len(self.rows) - NAMED} more" if len(self.rows) > NAMED else "")

    def _of(self, name: str) -> list[float]:
        return [float(row[name]) for row in self.rows]

    @property
    def preset_keeps(self) -> bool:
        """Whether the preset would set every threshold in question otherwise."""
        return all(
            CURATE_BY_EVIDENCE.get(criterion.setting, threshold) != threshold for criterion, threshold in self.missed
        )

    def cures(self) -> dict[str, Any]:
        """Return the settings that keep the units: thresholds that all of them meet, rounded to their side."""
        cures: dict[str, Any] = {}
        limits = dict(self.limits)
        for criterion, threshold in self.missed:
            name = criterion.metric.name
            low, high = self._wider(criterion, threshold)
            if criterion.setting != LIMITS:
                cures[criterion.setting] = low if high is None else high
            elif low is None and high is None:
                del limits[name]
            else:
                limits[name] = [low, high]
        return cures if limits == dict(self.limits) else {**cures, LIMITS: limits or None}

    def _wider(self, criterion: Criterion, threshold: Any) -> tuple[float | None, float | None]:
        """Move the bounds of a criterion as far as the units lie; no bounds where a value is not known."""
        values = self._of(criterion.metric.name)
        if not all(map(math.isfinite, values)):
            return None, None
        low, high = criterion.bounds(threshold)
        return (
            None if low is None else min(low, _rounded(min(values), math.floor)),
            None if high is None else max(high, _rounded(max(values), math.ceil)),
        )


def ways(settings: Mapping[str, Any], *, by_preset: bool = True) -> str:
    """Write how settings are changed, in Python and on the command line; also the preset, where that does it."""
    typed = " ".join(f"--set {_typed(name, value)}" for name, value in settings.items())
    called = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    preset = (", or take the preset evidence", "; --preset evidence") if by_preset else ("", "")
    return f"set {called}{preset[0]} ({typed}{preset[1]})"


def _typed(name: str, value: Any) -> str:
    return (
        f"'{name}={json.dumps(value)}'" if isinstance(value, dict) else f"{name}={'none' if value is None else value}"
    )


def _named(criterion: Criterion, threshold: Any) -> str:
    """Write the setting of a criterion with its threshold."""
    if criterion.setting == LIMITS:
        return f"{LIMITS} of {criterion.metric.name}, {criterion.words(threshold)}"
    return f"{criterion.setting} = {threshold:g}"


def _rounded(value: float, towards: Callable[[float], int]) -> float:
    """Round to three digits, down or up."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    rounded = towards(value * 10.0**digits) / 10.0**digits
    return int(rounded) if digits <= 0 or rounded.is_integer() else rounded


def doubts(units: SpikeData, outcome: CurationOutcome, config: CurationConfig) -> list[Doubt]:
    """Group the units that look right by the thresholds that they miss.

    A unit looks right by the measures of the preset "evidence", where half of its spikes or more are its own.
    """
    by_causes: dict[tuple[bool, tuple[str, ...]], Doubt] = {}
    violations = dict(zip(units.unit_ids, isi_violations(units, method="certain").tolist(), strict=True))
    for row in outcome.unit_metrics:
        missed = [] if _is_settled(row) else _missed(row, config)
        if missed and _looks_right(row, violations[row["unit_id"]]) and _is_its_own(units, outcome, row["unit_id"]):
            causes = tuple(f"{criterion.setting} {criterion.metric.name}" for criterion, _ in missed)
            small = causes == ("snr_min snr",) and SMALL_SNR[0] <= row["snr"] < SMALL_SNR[1]
            doubt = Doubt(missed, [], config.metric_limits or {}, small)
            by_causes.setdefault((small, causes), doubt).rows.append(row)
    return sorted(by_causes.values(), key=lambda doubt: -len(doubt.rows))


def _is_settled(row: dict[str, Any]) -> bool:
    """Whether a unit was kept, is in another one, or was decided on by a person."""
    return row["passed"] or row["failed_round"] == "merge" or "decided" in row


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
