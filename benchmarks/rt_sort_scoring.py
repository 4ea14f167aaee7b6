"""How well a sorter did, by SpikeInterface's comparison with the ground truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rt_sort_reasons import MOSTLY, Coincidences
from benchmarks.rt_sort_recordings import load_facts, load_small, load_truth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from spikeinterface import BaseSorting

MATCH_WINDOW_MS = 0.4
WELL_DETECTED = 0.8
VISIBLE_SNR = 5.0
NEARLY_ALL = 0.95  # accuracy; what is below is explained
AFTER_PULSE_MS = 5.0


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
    axon : list of bool
        Which of the true units have an axon.
    reasons : list of str
        What became of each true unit with an accuracy below 0.95; "" for the others.
    outside : list of float
        Accuracy of each true unit without the spikes within 5 ms after the start of a pulse; empty: no pulses.
    artefacts : int
        Found units most of whose spikes lie within 5 ms after pulses.
    recall_inside, recall_outside : float or None
        Share of the spikes of true units with an SNR of at least 5 that the unit which matches them has, inside and
        outside network bursts.
    """

    accuracy: list[float]
    snr: list[float]
    found: int
    false_positives: int
    redundant: int
    over_merged: int
    axon: list[bool] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)
    artefacts: int = 0
    recall_inside: float | None = None
    recall_outside: float | None = None

    @property
    def mean(self) -> float:
        """Mean accuracy over all true units; units that were not found count as 0."""
        return float(np.mean(self.accuracy))

    @property
    def mean_visible(self) -> float:
        """Mean accuracy over true units with an SNR of at least 5."""
        return float(np.mean(np.array(self.accuracy)[self._visible]))

    @property
    def mean_outside(self) -> float:
        """The same, without the spikes within 5 ms after pulses."""
        return float(np.mean(np.array(self.outside)[self._visible])) if self.outside else self.mean_visible

    @property
    def mean_axonal(self) -> float:
        """Mean accuracy over true units with an SNR of at least 5 and an axon; NaN if there are none."""
        accuracy = np.array(self.accuracy)[self._visible & np.array(self.axon, dtype=bool)]
        return float(np.mean(accuracy)) if len(accuracy) else float("nan")

    @property
    def well_detected(self) -> int:
        """True units with an accuracy of at least 0.8."""
        return int(np.sum(np.array(self.accuracy) >= WELL_DETECTED))

    @property
    def excess(self) -> int:
        """False and redundant units."""
        return self.false_positives + self.redundant

    def worst(self, least_snr: float) -> int | None:
        """Index of the least accurate true unit with an SNR of at least `least_snr`; None if there is none."""
        units = np.flatnonzero(np.array(self.snr) >= least_snr)
        return int(min(units, key=lambda unit: self.accuracy[unit])) if len(units) else None

    def lowest(self, least_snr: float) -> float:
        """Accuracy of :meth:`worst`, 1 if there is none."""
        worst = self.worst(least_snr)
        return 1.0 if worst is None else self.accuracy[worst]

    @property
    def _visible(self) -> NDArray[np.bool_]:
        visible: NDArray[np.bool_] = np.array(self.snr) >= VISIBLE_SNR
        return visible


def score(
    truth: BaseSorting,
    found: BaseSorting,
    units: Sequence[dict[str, Any]],
    periods: Mapping[str, Sequence[tuple[int, int]]] | None = None,
    small: BaseSorting | None = None,
) -> Score:
    """Compare a sorting with the truth.

    Parameters
    ----------
    truth, found : BaseSorting
    units : list of dict
        What is known of the true units, in their order; ``"snr"`` is read, and ``"axon"`` where there is one.
    periods : dict, optional
        First and last frames of network bursts ("bursts") and pulses ("pulses").
    small : BaseSorting, optional
        Units that nobody asks for; a found unit most of whose spikes are of one of them is not false.
    """
    snr = [float(unit["snr"]) for unit in units]
    axon = [bool(unit.get("axon", False)) for unit in units]
    pulses, bursts = ((periods or {}).get(kind, []) for kind in ("pulses", "bursts"))
    recall = (0.0, 0.0) if bursts else (None, None)
    if found.get_num_units() == 0:
        nothing = [0.0] * len(snr)
        return Score(
            nothing, snr, 0, 0, 0, 0, axon, ["nothing found"] * len(snr), nothing if pulses else [], 0, *recall
        )
    comparison = _compare(truth, found)
    accuracy = _accuracy(comparison)
    outside, artefacts = _without_pulses(truth, found, pulses) if pulses else ([], 0)
    if bursts:
        recall = _recall(truth, found, comparison.hungarian_match_12, np.array(snr) >= VISIBLE_SNR, bursts)
    return Score(
        accuracy=accuracy,
        snr=snr,
        found=found.get_num_units(),
        false_positives=len(comparison.get_false_positive_units()) - _found_small(comparison, found, small),
        redundant=len(comparison.get_redundant_units()),
        over_merged=len(comparison.get_overmerged_units()),
        axon=axon,
        reasons=_reasons(comparison, accuracy, snr),
        outside=outside,
        artefacts=artefacts,
        recall_inside=recall[0],
        recall_outside=recall[1],
    )


def score_folder(folder: Path, found: BaseSorting) -> Score:
    """Compare a sorting with everything that is known of the recording in a folder."""
    facts = load_facts(folder)
    return score(load_truth(folder), found, facts["units"], facts.get("periods"), load_small(folder))


def _compare(truth: BaseSorting, found: BaseSorting) -> Any:
    from spikeinterface.comparison import compare_sorter_to_ground_truth

    return compare_sorter_to_ground_truth(
        truth, found, delta_time=MATCH_WINDOW_MS, exhaustive_gt=True, well_detected_score=WELL_DETECTED
    )


def _accuracy(comparison: Any) -> list[float]:
    values = comparison.get_performance(method="by_unit")["accuracy"].to_numpy(float)
    return [round(float(value), 4) for value in values]


def _found_small(comparison: Any, found: BaseSorting, small: BaseSorting | None) -> int:
    """How many of the units that agree with no true one have most of their spikes from a small one."""
    false = comparison.get_false_positive_units()
    if small is None or not false:
        return 0
    table = _compare(small, found.select_units(false)).match_event_count
    spikes = np.array([len(found.get_unit_spike_train(unit)) for unit in table.columns])
    return int(np.sum(table.to_numpy().max(axis=0) >= MOSTLY * spikes))


def _reasons(comparison: Any, accuracy: Sequence[float], snr: Sequence[float]) -> list[str]:
    table = comparison.match_event_count
    spikes = (comparison.event_counts1[table.index], comparison.event_counts2[table.columns])
    shared = Coincidences(table.to_numpy(float), *(counts.to_numpy(float) for counts in spikes), snr)
    return [shared.reason(unit) if value < NEARLY_ALL else "" for unit, value in enumerate(accuracy)]


def _without_pulses(
    truth: BaseSorting, found: BaseSorting, pulses: Sequence[tuple[int, int]]
) -> tuple[list[float], int]:
    """Accuracy without the spikes within 5 ms after pulses; found units most of whose spikes lie there."""
    reach = round(AFTER_PULSE_MS * truth.get_sampling_frequency() / 1e3)
    after = [(start, start + reach) for start, _ in pulses]
    left, artefacts = [], 0
    for sorting in (truth, found):
        trains = _trains(sorting)
        kept = {unit: train[~within(train, after)] for unit, train in trains.items()}
        left.append(_sorting(kept, truth.get_sampling_frequency()))
        artefacts = sum(len(kept[unit]) < len(train) / 2 for unit, train in trains.items())
    return _accuracy(_compare(*left)), artefacts


def _recall(
    truth: BaseSorting,
    found: BaseSorting,
    matches: Any,
    visible: NDArray[np.bool_],
    bursts: Sequence[tuple[int, int]],
) -> tuple[float, float]:
    """Share of the spikes inside and outside bursts that have one of the matching unit within 0.4 ms."""
    reach = MATCH_WINDOW_MS * truth.get_sampling_frequency() / 1e3
    hits, inside, detected = [], [], _trains(found)
    for unit, train in _trains(truth).items():
        if visible[list(truth.unit_ids).index(unit)]:
            hits.append(near(train, detected.get(matches[unit], np.zeros(0, dtype=np.int64)), reach))
            inside.append(within(train, bursts))
    hit, burst = np.concatenate(hits), np.concatenate(inside)
    return float(hit[burst].mean()), float(hit[~burst].mean())


def within(frames: NDArray[np.int64], periods: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Which `frames` lie in one of the periods, first and last frame included."""
    starts, ends = np.array([(-2, -2), *periods]).T
    starts, reached = np.sort(starts), np.maximum.accumulate(ends[np.argsort(starts)])
    before = np.searchsorted(starts, frames, side="right") - 1
    inside: NDArray[np.bool_] = (before >= 0) & (frames <= reached[before])
    return inside


def near(frames: NDArray[np.int64], others: NDArray[np.int64], reach: float) -> NDArray[np.bool_]:
    """Which `frames` have one of the sorted `others` within `reach`."""
    if not len(others):
        return np.zeros(len(frames), dtype=bool)
    right = np.searchsorted(others, frames).clip(0, len(others) - 1)
    left = (right - 1).clip(0)
    distances = np.minimum(np.abs(others[right] - frames), np.abs(others[left] - frames))
    hits: NDArray[np.bool_] = distances <= reach
    return hits


def _trains(sorting: BaseSorting) -> dict[Any, NDArray[np.int64]]:
    return {unit: np.sort(sorting.get_unit_spike_train(unit)).astype(np.int64) for unit in sorting.unit_ids}


def _sorting(trains: Mapping[Any, NDArray[np.int64]], fs: float) -> BaseSorting:
    from spikeinterface.core import NumpySorting

    return NumpySorting.from_unit_dict(dict(trains), fs)
