"""What RT-Sort should reach on every family of recordings, beside what it reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING

from benchmarks.rt_sort_recipes import EASY, RECIPES
from benchmarks.rt_sort_scoring import WELL_DETECTED
from benchmarks.rt_sort_tasks import OURS

if TYPE_CHECKING:
    from benchmarks.rt_sort import Row

Measure = Callable[[Sequence["Row"]], float]

GONE = 0.5  # accuracy of a unit that is not there
LARGE_SNR, LARGE_LIMIT = 20.0, 0.9  # no unit of any recording is worse
BEST, BEFORE = "best of the others", "rt_sort_before"
EVIDENCE = "curated by evidence"
NO_WORSE = 0.002  # accuracy: what a change of one spike in five hundred makes


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
    """The same after curation by evidence."""
    return mean(row.evident.excess for row in rows if row.evident)


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


def memory(rows: Sequence[Row]) -> float:
    """Peak memory of the process in MiB, in the worst recording."""
    return max(row.cost.peak_mib for row in rows if row.cost)


def lost_by_curation(rows: Sequence[Row]) -> float:
    """How many of a hundred units with an accuracy of at least 0.8 are gone after curation by evidence (below 0.5).

    Each true unit counts by itself: what a merge gains elsewhere makes up for none.
    """
    both = [(row.score.accuracy, row.evident.accuracy) for row in rows if row.score and row.evident]
    pairs = [pair for before, after in both for pair in zip(before, after, strict=True) if pair[0] >= WELL_DETECTED]
    return 100 * sum(after < GONE for _, after in pairs) / max(len(pairs), 1)


def false_curated(rows: Sequence[Row]) -> float:
    """False units after curation by evidence, per recording."""
    return mean(row.evident.false_positives for row in rows if row.evident)


def recall_lost(rows: Sequence[Row]) -> float:
    """By how much recall is lower inside network bursts than outside."""
    pairs = [(row.score.recall_outside, row.score.recall_inside) for row in rows if row.score]
    return mean(out - inside for out, inside in pairs if out is not None and inside is not None)


def lowest(least_snr: float) -> Measure:
    """Give the lowest accuracy of a unit with an SNR of at least `least_snr` in any of the recordings."""
    return lambda rows: min(row.score.lowest(least_snr) for row in rows if row.score)


CURATED = (excess_curated, lost_by_curation, false_curated)  # what only rows that were curated by evidence have


@dataclass(frozen=True)
class Aim:
    """One thing to reach.

    Attributes
    ----------
    family, what : str
    measure : callable
        From rows of one family and one sorter to a number.
    limit : float
    most : bool
        Whether the number must be no more than the limit; otherwise no less.
    below, share : str
        What is measured too: the same sorter on the family of this name, BEST of the others, or ours BEFORE. The limit
        is for the number by which the measured one is below that, or for its share of that.
    """

    family: str
    what: str
    measure: Measure
    limit: float
    most: bool = False
    below: str = ""
    share: str = ""

    def value(self, rows: Sequence[Row], sorter: str = OURS) -> float | None:
        """What a sorter reaches; None if something has not been measured."""
        ours, reference = done(rows, self.family, sorter), self._reference(rows, sorter)
        if not ours or reference == [] or (self.measure in CURATED and not all(row.evident for row in ours)):
            return None
        value = self.measure(ours)
        if reference is None:
            return value
        return self.measure(reference) - value if self.below else value / self.measure(reference)

    def _reference(self, rows: Sequence[Row], sorter: str) -> list[Row] | None:
        """Rows to compare with; None: nothing to compare with is asked for."""
        name = self.below or self.share
        if name == BEST:
            others = _unique(row.sorter for row in rows if row.sorter not in {sorter, OURS, BEFORE})
            return max((done(rows, self.family, other) for other in others), key=_accuracy_or_less, default=[])
        if name == BEFORE:
            return done(rows, self.family, BEFORE)
        return done(rows, name, sorter) if name else None

    def met(self, value: float) -> bool:
        """Whether that is enough."""
        return value <= self.limit if self.most else value >= self.limit

    @property
    def said(self) -> str:
        """The limit in words."""
        return f"{'at most' if self.most else 'at least'} {self.limit:.3g}"


def _accuracy_or_less(rows: Sequence[Row]) -> float:
    return accuracy(rows) if rows else -1.0


def done(rows: Sequence[Row], family: str, sorter: str = OURS) -> list[Row]:
    """Rows of a sorter on a family of recordings that have a score."""
    return [row for row in rows if row.family == family and row.sorter == sorter and row.score]


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _accuracy(family: str, limit: float) -> Aim:
    return Aim(family, "accuracy, SNR >= 5", accuracy, limit)


def _excess(family: str, limit: float) -> Aim:
    return Aim(family, "false + twice", excess, limit, most=True)


def _lost(family: str, than: str, limit: float, measure: Measure = accuracy) -> Aim:
    words = " outside 5 ms after pulses" if measure is outside else ""
    return Aim(family, f"accuracy{words}, below that on {than} by", measure, limit, most=True, below=than)


def _hard(family: str) -> tuple[Aim, ...]:
    return (
        _accuracy(family, 0.975),
        Aim(family, "accuracy of axonal units", axonal, 0.975),
        _excess(family, 3),
        Aim(family, "lowest accuracy, SNR >= 15", lowest(15.0), 0.95),
    )


def _probe(family: str) -> tuple[Aim, ...]:
    return (
        _accuracy(family, 0.97),
        Aim(family, "false + twice per 100 units", excess_per_100, 5, most=True),
        Aim(family, "x real time", speed, 1.5),
    )


def _stimulated(family: str, without: str) -> tuple[Aim, ...]:
    return (
        _lost(family, without, 0.02, outside),
        _excess(family, 1),
        Aim(family, "units made of artefacts", artefacts, 0, most=True),
    )


def _thousand(family: str) -> tuple[Aim, ...]:
    return Aim(family, "x real time", speed, 1.0), Aim(family, "MiB", memory, 1536, most=True)


def _as_before(family: str) -> tuple[Aim, ...]:
    return (
        Aim(family, "accuracy, below that before by", accuracy, NO_WORSE, most=True, below=BEFORE),
        Aim(family, "false + twice, below that before by", excess, 0, below=BEFORE),
        Aim(family, "CPU s, as a share of that before", cpu, 1.2, most=True, share=BEFORE),
    )


AIMS = (
    _accuracy("quiet", 0.97),
    Aim("quiet", f"false + twice, {EVIDENCE}", excess_curated, 1, most=True),
    Aim("quiet_hour", "CPU s", cpu, 600, most=True),
    _accuracy("xl", 0.96),
    Aim("xl", "accuracy, as a share of the best other's", accuracy, 1.0, share=BEST),
    _excess("xl", 3),
    Aim("xl", "merged", merged, 2, most=True),
    Aim("xl", "CPU s, as a share of the best other's", cpu, 1 / 3, most=True, share=BEST),
    *_hard("hard"),
    *_hard("hard_static"),
    *_hard("hard2"),
    *_hard("hard3"),
    *(aim for name in ("drift15", "drift_step", "drift_column") for aim in (_accuracy(name, 0.97), _excess(name, 2))),
    _lost("drift40", "drift0", 0.03),
    _lost("drift_nonrigid", "drift0", 0.03),
    *_probe("np"),
    *_probe("np_part"),
    _accuracy("drift_long", 0.96),
    _excess("drift_long", 2),
    *_stimulated("stim", "stim_none"),
    *_stimulated("stim_few", "stim_none"),
    *_stimulated("stim_hard", "hard_static"),
    *(_lost(family, "shared0", 0.02) for family in ("shared30", "shared50", "shared70", "hum")),
    Aim("bursts1000", "recall inside network bursts, below that outside by", recall_lost, 0.03, most=True),
    *_thousand("bursts1000"),
    *_thousand("maxone"),
    *(aim for recipe in EASY for aim in _as_before(recipe.name)),
    *(Aim(family, "lowest accuracy, SNR >= 20", lowest(LARGE_SNR), LARGE_LIMIT) for family in RECIPES),
    *(Aim(family, f"well-sorted units lost, in 100, {EVIDENCE}", lost_by_curation, 2, most=True) for family in RECIPES),
    *(Aim(family, f"false units, {EVIDENCE}", false_curated, 1, most=True) for family in RECIPES),
)
