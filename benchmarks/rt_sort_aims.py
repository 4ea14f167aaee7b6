"""What RT-Sort should reach on every family of recordings, beside what it reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from benchmarks.rt_sort_recipes import RECIPES
from benchmarks.rt_sort_tasks import OURS

if TYPE_CHECKING:
    from benchmarks.rt_sort import Row

Measure = Callable[[Sequence["Row"]], float]

LARGE_SNR, LARGE_LIMIT = 20.0, 0.9  # no unit of any recording is worse


def accuracy(rows: Sequence[Row]) -> float:
    """Mean over the true units with an SNR of at least 5."""
    return mean(row.score.mean_visible for row in rows if row.score)


def outside(rows: Sequence[Row]) -> float:
    """The same without the spikes within 5 ms after pulses."""
    return mean(row.score.mean_outside for row in rows if row.score)


def axonal(rows: Sequence[Row]) -> float:
    """The same of units with an axon."""
    return mean(row.score.mean_axonal for row in rows if row.score)


def excess(rows: Sequence[Row]) -> float:
    """False and redundant units per recording."""
    return mean(row.score.excess for row in rows if row.score)


def excess_curated(rows: Sequence[Row]) -> float:
    """The same after curation."""
    return mean(row.curated.excess for row in rows if row.curated)


def excess_per_100(rows: Sequence[Row]) -> float:
    """False and redundant units per hundred true ones."""
    return mean(100 * row.score.excess / len(row.score.snr) for row in rows if row.score)


def merged(rows: Sequence[Row]) -> float:
    """Found units that agree with two true ones, per recording."""
    return mean(row.score.over_merged for row in rows if row.score)


def artefacts(rows: Sequence[Row]) -> float:
    """Found units that are made of artefacts, in the worst recording."""
    return max(row.score.artefacts for row in rows if row.score)


def cpu(rows: Sequence[Row]) -> float:
    """CPU seconds."""
    return mean(row.cost.cpu for row in rows if row.cost)


def speed(rows: Sequence[Row]) -> float:
    """Seconds of recording per CPU second."""
    return RECIPES[rows[0].family].seconds / cpu(rows)


def recall_lost(rows: Sequence[Row]) -> float:
    """By how much recall is lower inside network bursts than outside."""
    pairs = [(row.score.recall_outside, row.score.recall_inside) for row in rows if row.score]
    return mean(out - inside for out, inside in pairs if out is not None and inside is not None)


def lowest(least_snr: float) -> Measure:
    """Give the lowest accuracy of a unit with an SNR of at least `least_snr` in any of the recordings."""
    return lambda rows: min(row.score.lowest(least_snr) for row in rows if row.score)


@dataclass(frozen=True)
class Aim:
    """One thing to reach.

    Attributes
    ----------
    family, what : str
    measure : callable
        From rows of one family and one sorter to a number.
    limit : float
        Of the number; with `beside` or `of_best` of a difference or a ratio.
    most : bool
        Whether the number must be no more than the limit; otherwise no less.
    beside : str
        A family: the number of this one is subtracted from it.
    of_best : bool
        The number is divided by that of the sorter, of the others, with the best accuracy.
    """

    family: str
    what: str
    measure: Measure
    limit: float
    most: bool = False
    beside: str = ""
    of_best: bool = False

    def value(self, rows: Sequence[Row], sorter: str = OURS) -> float | None:
        """What a sorter reaches; None if something has not been measured."""
        ours = done(rows, self.family, sorter)
        if not ours:
            return None
        value = self.measure(ours)
        if self.beside:
            reference = done(rows, self.beside, sorter)
            return self.measure(reference) - value if reference else None
        if self.of_best:
            others = {row.sorter: done(rows, self.family, row.sorter) for row in rows if row.sorter != sorter}
            best = max((part for part in others.values() if part), key=accuracy, default=None)
            return value / self.measure(best) if best else None
        return value

    def met(self, value: float) -> bool:
        """Whether that is enough."""
        return value <= self.limit if self.most else value >= self.limit

    @property
    def said(self) -> str:
        """The limit in words."""
        return f"{'at most' if self.most else 'at least'} {self.limit:g}"


def done(rows: Sequence[Row], family: str, sorter: str = OURS) -> list[Row]:
    """Rows of a sorter on a family of recordings that have a score."""
    return [row for row in rows if row.family == family and row.sorter == sorter and row.score]


def _accuracy(family: str, limit: float) -> Aim:
    return Aim(family, "accuracy, SNR >= 5", accuracy, limit)


def _excess(family: str, limit: float) -> Aim:
    return Aim(family, "false + twice", excess, limit, most=True)


def _lost(family: str, beside: str, limit: float, measure: Measure = accuracy) -> Aim:
    words = " outside 5 ms after pulses" if measure is outside else ""
    return Aim(family, f"accuracy{words}, below that on {beside} by", measure, limit, most=True, beside=beside)


AIMS = (
    _accuracy("quiet", 0.97),
    Aim("quiet", "false + twice, curated", excess_curated, 1, most=True),
    Aim("quiet_hour", "CPU s", cpu, 600, most=True),
    _accuracy("xl", 0.96),
    Aim("xl", "accuracy, as a share of the best other's", accuracy, 1.0, of_best=True),
    _excess("xl", 3),
    Aim("xl", "merged", merged, 2, most=True),
    Aim("xl", "CPU s, as a share of the best other's", cpu, 1 / 3, most=True, of_best=True),
    *(
        aim
        for family in ("hard", "hard_static", "hard2")
        for aim in (
            _accuracy(family, 0.975),
            Aim(family, "accuracy of axonal units", axonal, 0.975),
            _excess(family, 3),
            Aim(family, "lowest accuracy, SNR >= 15", lowest(15.0), 0.95),
        )
    ),
    *(
        aim
        for family in ("drift15", "drift_step", "drift_column")
        for aim in (_accuracy(family, 0.97), _excess(family, 2))
    ),
    _lost("drift40", "drift0", 0.03),
    _lost("drift_nonrigid", "drift0", 0.03),
    *(
        aim
        for family in ("np", "np_part")
        for aim in (
            _accuracy(family, 0.97),
            Aim(family, "false + twice per 100 units", excess_per_100, 5, most=True),
            Aim(family, "x real time", speed, 1.5),
        )
    ),
    _accuracy("drift_long", 0.96),
    _excess("drift_long", 2),
    *(
        aim
        for family, beside in (("stim", "stim_none"), ("stim_hard", "hard_static"))
        for aim in (
            _lost(family, beside, 0.02, outside),
            _excess(family, 1),
            Aim(family, "units made of artefacts", artefacts, 0, most=True),
        )
    ),
    *(_lost(family, "shared0", 0.02) for family in ("shared30", "shared50", "shared70", "hum")),
    Aim("bursts1000", "recall inside network bursts, below that outside by", recall_lost, 0.03, most=True),
    *(Aim(family, "lowest accuracy, SNR >= 20", lowest(LARGE_SNR), LARGE_LIMIT) for family in RECIPES),
)
