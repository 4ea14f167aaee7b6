"""How well a sorter did, by SpikeInterface's comparison with the ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikeinterface import BaseSorting

MATCH_WINDOW_MS = 0.4
WELL_DETECTED = 0.8
VISIBLE_SNR = 5.0


@dataclass(frozen=True)
class Score:
    """What :func:`score` finds.

    Attributes
    ----------
    accuracy, snr : list of float
        Of each true unit: matched / (true + found - matched) spikes, and its signal-to-noise ratio.
    found : int
        Units of the sorter.
    false_positives : int
        Found units that agree with no true one: below 0.2.
    redundant : int
        Found units that agree with a true one, 0.2 or more, which another found unit matches better.
    over_merged : int
        Found units that agree with two true ones or more, more than 0.2 with each.
    """

    accuracy: list[float]
    snr: list[float]
    found: int
    false_positives: int
    redundant: int
    over_merged: int

    @property
    def mean(self) -> float:
        """Mean accuracy over all true units; units that were not found count as 0."""
        return float(np.mean(self.accuracy))

    @property
    def mean_visible(self) -> float:
        """Mean accuracy over true units with an SNR of at least 5."""
        return float(np.mean(np.array(self.accuracy)[np.array(self.snr) >= VISIBLE_SNR]))

    @property
    def well_detected(self) -> int:
        """True units with an accuracy of at least 0.8."""
        return int(np.sum(np.array(self.accuracy) >= WELL_DETECTED))

    @property
    def excess(self) -> int:
        """False and redundant units."""
        return self.false_positives + self.redundant


def score(truth: BaseSorting, found: BaseSorting, units: Sequence[dict[str, Any]]) -> Score:
    """Compare a sorting with the truth.

    Parameters
    ----------
    truth, found : BaseSorting
    units : list of dict
        What is known of the true units, in their order; ``"snr"`` is read.
    """
    from spikeinterface.comparison import compare_sorter_to_ground_truth

    snr = [float(unit["snr"]) for unit in units]
    if found.get_num_units() == 0:
        return Score([0.0] * len(snr), snr, 0, 0, 0, 0)
    comparison = compare_sorter_to_ground_truth(
        truth, found, delta_time=MATCH_WINDOW_MS, exhaustive_gt=True, well_detected_score=WELL_DETECTED
    )
    accuracy = comparison.get_performance(method="by_unit")["accuracy"].to_numpy(float)
    return Score(
        accuracy=[round(float(value), 4) for value in accuracy],
        snr=snr,
        found=found.get_num_units(),
        false_positives=len(comparison.get_false_positive_units()),
        redundant=len(comparison.get_redundant_units()),
        over_merged=len(comparison.get_overmerged_units()),
    )
