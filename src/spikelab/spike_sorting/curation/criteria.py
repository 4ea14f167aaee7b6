"""The criteria of curation, one row each: setting, round, direction and metric.

Curation, the table of units, figures and report are all derived from `CRITERIA`. A new criterion is a new row here, a
field of ``CurationConfig`` for its threshold, and a ``curate_by_*`` function for a metric that is new. Limits on
metrics that have no setting of their own (``metric_limits``) are criteria that the configuration makes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from spikelab.spike_sorting.data.spike_trains import MEASURES
from spikelab.spikedata.curation import (
    curate_by_firing_rate,
    curate_by_isi_violations,
    curate_by_min_spikes,
    curate_by_significance,
    curate_by_snr,
    curate_by_std_norm,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData
    from spikelab.spikedata._base import CriterionResult

Round: TypeAlias = Literal["first", "second", "limits"]
LIMITS = "metric_limits"
# Attributes of units, for limits: those that a sort always has, and those that some sorters tell.
LIMITED_ATTRIBUTES = ("amplitude", "x", "y", "has_pos_peak", *MEASURES)
UNITS = {"amplitude": "Amplitude (uV)", "x": "x (um)", "y": "y (um)"}  # labels of attributes that have a unit
ISI_METHODS = {"percent": "per spike", "hill": "contamination, Hill", "certain": "per spike, at least"}


@dataclass(frozen=True)
class Metric:
    """A quality metric of a unit."""

    name: str  # column in the table of unit metrics
    text: str  # label of the axis with the unit of the thresholds; {method} is the way ISI violations are counted
    brief: str  # format of one value in the title of a unit's page
    # The ``curate_by_*`` function: (units, threshold or None, options) to (units that pass, metric and verdicts).
    function: Callable[..., tuple[SpikeData, CriterionResult]]
    options: tuple[tuple[str, str], ...] = ()  # options of `function`, and the fields of the settings with their values
    log: bool = False  # whether values may span orders of magnitude

    @property
    def short_label(self) -> str:
        """Label of the axis without its brackets."""
        return self.text.partition(" (")[0]

    def label(self, config: CurationConfig) -> str:
        """Return the label of the axis."""
        return self.text.format(method=ISI_METHODS[config.isi_violation_method])

    def apply(
        self, sd: SpikeData, threshold: float | None, config: CurationConfig
    ) -> tuple[SpikeData, CriterionResult]:
        """Keep the units that meet `threshold`, all of them where it is None."""
        return self.function(sd, threshold, **{name: getattr(config, setting) for name, setting in self.options})

    def values(self, sd: SpikeData, config: CurationConfig) -> NDArray[np.float64] | NDArray[np.int64]:
        """Measure the metric of every unit, shape (units,)."""
        return self.apply(sd, None, config)[1]["metric"]


@dataclass(frozen=True)
class Criterion:
    """A threshold on a metric."""

    setting: str  # field of ``CurationConfig`` that holds the threshold
    round: Round  # round of curation that applies the criterion
    # Whether the threshold is the lowest or the highest value that passes, or both of them.
    direction: Literal["min", "max", "range"]
    metric: Metric

    def threshold(self, config: CurationConfig) -> Any:
        """Return the threshold in force; None where there is none or the round is switched off."""
        return getattr(config, self.setting) if getattr(config, f"curate_{self.round}") else None

    def bounds(self, threshold: Any) -> tuple[float | None, float | None]:
        """Return the lowest and the highest value that pass."""
        if self.direction == "range":
            return threshold[0], threshold[1]
        return (threshold, None) if self.direction == "min" else (None, threshold)

    def passes(self, values: NDArray[Any], threshold: Any) -> NDArray[np.bool_]:
        """Compare metrics with a threshold, shape (units,); NaN fails."""
        low, high = self.bounds(threshold)
        passed = ~np.isnan(np.asarray(values, dtype=np.float64))
        if low is not None:
            passed &= values >= low
        return passed if high is None else passed & (values <= high)

    def words(self, threshold: Any) -> str:
        """Write which values pass."""
        low, high = self.bounds(threshold)
        if low is not None and high is not None:
            return f"from {low:g} to {high:g}"
        return f"at least {low:g}" if high is None else f"at most {high:g}"


SPIKE_COUNT = Metric("spike_count", "Spikes", "{:g} spikes", curate_by_min_spikes, log=True)
FIRING_RATE = Metric("firing_rate", "Firing rate (Hz)", "{:.3g} Hz", curate_by_firing_rate, log=True)
ISI_VIOLATION = Metric(
    "isi_violation",
    "ISI violations ({method})",
    "ISI violations {:.3g}",
    curate_by_isi_violations,
    options=(("method", "isi_violation_method"),),
)
SNR = Metric("snr", "SNR", "SNR {:.3g}", curate_by_snr)
SIGNIFICANCE = Metric(
    "significance", "Significance (standard deviations)", "significance {:.3g}", curate_by_significance, log=True
)
STD_NORM = Metric("std_norm", "STD / amplitude", "STD / amplitude {:.3g}", curate_by_std_norm)

CRITERIA: tuple[Criterion, ...] = (
    Criterion("spikes_min_first", "first", "min", SPIKE_COUNT),
    Criterion("fr_min", "first", "min", FIRING_RATE),
    Criterion("isi_viol_max", "first", "max", ISI_VIOLATION),
    Criterion("snr_min", "first", "min", SNR),
    Criterion("significance_min", "first", "min", SIGNIFICANCE),
    Criterion("spikes_min_second", "second", "min", SPIKE_COUNT),
    Criterion("std_norm_max", "second", "max", STD_NORM),
)


def in_force(config: CurationConfig) -> list[tuple[Criterion, Any]]:
    """List the criteria that are switched on with their thresholds, in the order in which they are applied."""
    thresholds = [(criterion, criterion.threshold(config)) for criterion in CRITERIA]
    return [(criterion, threshold) for criterion, threshold in thresholds if threshold is not None] + _limits(config)


def _limits(config: CurationConfig) -> list[tuple[Criterion, Any]]:
    """Make a criterion of each entry of ``metric_limits``."""
    found: list[tuple[Criterion, Any]] = []
    for name, (low, high) in (config.metric_limits or {}).items():
        metric = metric_named(name)
        if low is None:
            found.append((Criterion(LIMITS, "limits", "max", metric), high))
        elif high is None:
            found.append((Criterion(LIMITS, "limits", "min", metric), low))
        else:
            found.append((Criterion(LIMITS, "limits", "range", metric), (low, high)))
    return found


def metrics(config: CurationConfig | None = None) -> tuple[Metric, ...]:
    """List the metrics of all criteria, each once; with the settings also those that only limits are set on."""
    limited = [] if config is None else [criterion.metric for criterion, _ in _limits(config)]
    return tuple(dict.fromkeys([*(criterion.metric for criterion in CRITERIA), *limited]))


@lru_cache(maxsize=256)
def metric_named(name: str) -> Metric:
    """Return the metric of this name; where no criterion has it, the metric is an attribute of the units."""
    known = {metric.name: metric for metric in metrics()}
    label = UNITS.get(name, f"{name[:1].upper()}{name[1:]}".replace("_", " "))
    return known.get(name) or Metric(name, label, f"{name} {{:.3g}}", partial(_by_attribute, name))


def _by_attribute(name: str, sd: SpikeData, _: None) -> tuple[SpikeData, CriterionResult]:
    """Read an attribute of the units, NaN where a unit has none."""
    values = np.array([unit.get(name, np.nan) for unit in sd.unit_attributes], dtype=np.float64)
    return sd, {"metric": values, "passed": np.ones(sd.N, dtype=bool)}
