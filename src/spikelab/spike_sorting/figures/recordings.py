"""What the figures need to know about a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spikedata import SpikeData


class Outcome(Protocol):
    """The part of a curation's outcome that is drawn."""

    @property
    def sd_first(self) -> SpikeData:
        """Units after the first round."""
        ...

    @property
    def sd_curated(self) -> SpikeData:
        """Units after the second round."""
        ...

    @property
    def unit_metrics(self) -> list[dict[str, Any]]:
        """One row per unit of the sort: unit_id, the metrics, failed_criterion."""
        ...


@dataclass(frozen=True)
class FigureRecording:
    """One recording: its name, all its units and what curation made of them."""

    name: str
    sd_all: SpikeData
    outcome: Outcome

    @property
    def curated_ids(self) -> set[int]:
        """Ids of the units that passed both rounds."""
        return set(self.outcome.sd_curated.unit_ids)

    @property
    def first_ids(self) -> set[int]:
        """Ids of the units that passed the first round."""
        return set(self.outcome.sd_first.unit_ids)

    def metric(self, name: str, ids: set[int] | None = None) -> NDArray[np.float64]:
        """One metric of all units, or of those in `ids`, in the order of the table."""
        rows = self.outcome.unit_metrics
        return np.array([row[name] for row in rows if ids is None or row["unit_id"] in ids], dtype=np.float64)


def as_recordings(recordings: Sequence[tuple[str, SpikeData, Outcome]]) -> list[FigureRecording]:
    """Wrap (name, all units, outcome) triples."""
    return [FigureRecording(*recording) for recording in recordings]
