"""One recording of a figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spikedata import SpikeData


@dataclass(frozen=True)
class FigureRecording:
    """Name of a recording, all its units and the outcome of their curation."""

    name: str
    sd_all: SpikeData
    outcome: CurationOutcome

    @property
    def curated_ids(self) -> set[int]:
        """Ids of the units that passed both rounds."""
        return set(self.outcome.sd_curated.unit_ids)

    @property
    def first_ids(self) -> set[int]:
        """Ids of the units that passed the first round."""
        return set(self.outcome.sd_first.unit_ids)

    def metric(self, name: str, ids: set[int] | None = None) -> NDArray[np.float64]:
        """Return one metric of all units, or of those in `ids`, in the order of the table."""
        rows = self.outcome.unit_metrics
        return np.array([row[name] for row in rows if ids is None or row["unit_id"] in ids], dtype=np.float64)


def as_recordings(recordings: Sequence[tuple[str, SpikeData, CurationOutcome]]) -> list[FigureRecording]:
    """Wrap triples of name, all units and outcome."""
    return [FigureRecording(*recording) for recording in recordings]
