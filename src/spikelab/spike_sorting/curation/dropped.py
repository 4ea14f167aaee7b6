"""Count the units that were dropped, by what dropped them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikelab.spike_sorting.curation.criteria import in_force
from spikelab.spike_sorting.curation.outcome import BY_HAND, MERGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spikelab.spike_sorting.curation.outcome import CurationOutcome
    from spikelab.spike_sorting.settings.schema import CurationConfig


@dataclass(frozen=True)
class Dropped:
    """Units that one criterion dropped, or that were merged into others."""

    count: int
    metric: str  # "" for units that were merged
    limit: str = ""  # setting and threshold

    def brief(self) -> str:
        """Write how many units, and by what; without the threshold."""
        if self.metric == BY_HAND:
            return f"{self.count} by hand"
        return f"{self.count} by {self.metric}" if self.metric else f"{self.count} merged into another"

    def __str__(self) -> str:
        return self.brief() + (f" ({self.limit})" if self.limit else "")


def dropped(outcome: CurationOutcome, config: CurationConfig) -> list[Dropped]:
    """Count the units that were not kept by the first criterion that each failed, the most frequent first."""
    failed = Counter((row["failed_round"], row["failed_criterion"]) for row in outcome.unit_metrics)
    limits = {
        (criterion.round, criterion.metric.name): f"{criterion.setting}: {criterion.words(threshold)}"
        for criterion, threshold in in_force(config)
    }
    return [
        Dropped(count, "" if name == MERGE else name, limits.get((which, name), ""))
        for (which, name), count in failed.most_common()
        if which
    ]


def together(several: Iterable[Iterable[Dropped]]) -> list[Dropped]:
    """Add up what was dropped from several recordings."""
    counts: Counter[tuple[str, str]] = Counter()
    for of_one in several:
        for one in of_one:
            counts[one.metric, one.limit] += one.count
    return [Dropped(count, *cause) for cause, count in counts.most_common()]
