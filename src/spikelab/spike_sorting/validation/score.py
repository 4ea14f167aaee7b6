"""Scores: what the sorter made of the injected neurons, and of the units that were there before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.data.matching import Overlap, overlap_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

    Values = NDArray[np.float64]

WINDOW_MS = 0.4
AGREES = 0.2  # as SpikeInterface's comparison counts a unit as partly found
MOSTLY = 0.5  # of a found unit's spikes: it is a piece of that neuron


@dataclass(frozen=True)
class Scored:
    """Outcome of one sort with injected neurons.

    Attributes
    ----------
    found : numpy.ndarray of int64, shape (injections,)
        Row of the found unit that agrees best with each injected one; -1: none does.
    accuracy, recall, precision : numpy.ndarray of float64, shape (injections,)
        Of that unit.
    pieces : numpy.ndarray of int64, shape (pieces, 2)
        Found units that hold an injected neuron, with it as their best partner, and that neuron: rows of both.
    piece_scores : numpy.ndarray of float64, shape (pieces, 3)
        Accuracy, recall and precision of each.
    stability : numpy.ndarray of float64, shape (units,)
        Agreement of each unit of the sort with its best partner in the new one.
    n_new : int
        Found units that agree neither with an injected neuron nor with a unit of the sort.
    """

    found: IntArray
    accuracy: Values
    recall: Values
    precision: Values
    pieces: IntArray
    piece_scores: Values
    stability: Values
    n_new: int


def score(
    injected: Sequence[IntArray], native: Sequence[IntArray], found: Sequence[IntArray], sampling_frequency: float
) -> Scored:
    """Compare the spikes, in frames, that a sorter found with those injected and those of the units before."""
    per_ms = sampling_frequency / 1000.0
    of_found = [train / per_ms for train in found]
    known = overlap_of([train / per_ms for train in injected], of_found, WINDOW_MS)
    before = overlap_of([train / per_ms for train in native], of_found, WINDOW_MS)
    best, values = _best(known)
    pieces = _pieces(known, before)
    agreement = np.zeros(len(found))
    for overlap in (known, before):
        agreement = np.maximum(agreement, overlap.agreement.max(axis=0, initial=0.0))
    scores = [_scores(known, neuron, row) for row, neuron in pieces.tolist()]
    return Scored(
        best, values[:, 0], values[:, 1], values[:, 2],
        pieces, np.array(scores, dtype=np.float64).reshape(-1, 3),
        before.agreement.max(axis=1, initial=0.0),
        int(np.sum(agreement < AGREES)),
    )  # fmt: skip


def _best(overlap: Overlap) -> tuple[IntArray, Values]:
    """Find the found unit that agrees best with each injected neuron, and its scores."""
    n_units = len(overlap.n_a)
    rows = np.full(n_units, -1, dtype=np.int64)
    values = np.zeros((n_units, 3))
    if not len(overlap.n_b):
        return rows, values
    best = overlap.agreement.argmax(axis=1)
    for neuron in np.flatnonzero(overlap.agreement.max(axis=1) >= AGREES).tolist():
        rows[neuron], values[neuron] = best[neuron], _scores(overlap, neuron, int(best[neuron]))
    return rows, values


def _pieces(known: Overlap, before: Overlap) -> IntArray:
    """Find the found units whose best partner of all is an injected neuron, shape (pieces, 2)."""
    if not len(known.n_a) or not len(known.n_b):
        return np.empty((0, 2), dtype=np.int64)
    neurons = known.n_common.argmax(axis=0)
    at = np.arange(len(neurons))
    own = known.n_common[neurons, at]
    other = before.n_common.max(axis=0, initial=0)
    holds = (known.share_of_b[neurons, at] >= MOSTLY) | (known.agreement[neurons, at] >= AGREES)
    rows = np.flatnonzero(holds & (own > other))
    return np.stack([rows, neurons[rows]], axis=1).astype(np.int64)


def _scores(overlap: Overlap, neuron: int, row: int) -> tuple[float, float, float]:
    return (
        float(overlap.agreement[neuron, row]),
        float(overlap.share_of_a[neuron, row]),
        float(overlap.share_of_b[neuron, row]),
    )
