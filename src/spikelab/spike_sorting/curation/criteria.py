"""The criteria of curation, one row each: setting, round, direction and metric.

Curation, the table of units, figures and report are all derived from `CRITERIA`. A new criterion is a new row here, a
field of ``CurationConfig`` for its threshold, and a ``curate_by_*`` function for a metric that is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

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

    import numpy as np
    from numpy.typing import NDArray

    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData
    from spikelab.spikedata._base import CriterionResult

Round: TypeAlias = Literal["first", "second"]
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
    direction: Literal["min", "max"]  # whether the threshold is the lowest or the highest value that passes
    metric: Metric

    def threshold(self, config: CurationConfig) -> Any:
        """Return the threshold in force; None where there is none or the round is switched off."""
        return getattr(config, self.setting) if getattr(config, f"curate_{self.round}") else None

    def passes(self, values: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
        """Compare metrics with a threshold, shape (units,); NaN fails."""
        return values >= threshold if self.direction == "min" else values <= threshold


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
    return [(criterion, threshold) for criterion, threshold in thresholds if threshold is not None]


def metrics() -> tuple[Metric, ...]:
    """List the metrics of all criteria, each once."""
    return tuple(dict.fromkeys(criterion.metric for criterion in CRITERIA))
