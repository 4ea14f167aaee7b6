"""Why a true unit was not found as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SEEN = 0.1  # of a true unit's spikes: a found unit with fewer of them says nothing
MOSTLY = 0.5  # of a found unit's spikes: it is a piece of the true unit that they are of
SWALLOWED = 0.3  # of a true unit's spikes: it is in the found unit that has so many


@dataclass(frozen=True)
class Coincidences:
    """Spikes that true and found units share.

    Attributes
    ----------
    shared : numpy.ndarray, shape (true, found)
    true, found : numpy.ndarray
        Spikes of each unit.
    snr : list of float
        Of the true units.
    """

    shared: NDArray[np.float64]
    true: NDArray[np.float64]
    found: NDArray[np.float64]
    snr: Sequence[float]

    def reason(self, unit: int) -> str:
        """In a few words what became of the true unit with this index."""
        recall = self.shared[unit] / max(self.true[unit], 1)
        precision = self.shared[unit] / np.maximum(self.found, 1)
        if not np.any(recall >= SEEN):
            return "not found"
        agreement = self.shared[unit] / np.maximum(self.true[unit] + self.found - self.shared[unit], 1)
        best = int(agreement.argmax())
        words = [f"best unit agrees {agreement[best]:.2f}: recall {recall[best]:.2f}, precision {precision[best]:.2f}"]
        pieces = (recall >= SEEN) & (precision >= MOSTLY)
        if pieces.sum() > 1:
            words.append(f"in {pieces.sum()} pieces ({', '.join(f'{part:.2f}' for part in -np.sort(-recall[pieces]))})")
        within = self.shared[:, best] / np.maximum(self.true, 1) >= SWALLOWED
        others = [other for other in np.flatnonzero(within) if other != unit]
        if others and precision[best] < 1 - SEEN:
            words.append(f"merged with {', '.join(f'{other} (SNR {self.snr[other]:.1f})' for other in others)}")
        return "; ".join(words)
