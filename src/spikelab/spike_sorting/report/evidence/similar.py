"""Which units are most like one another, and what speaks for one neuron or for two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.report._words import format_number
from spikelab.spikedata._alike import ALIKE
from spikelab.spikedata._correlograms import correlogram
from spikelab.spikedata._dead_time import live_ms
from spikelab.spikedata._epochs import count_short_intervals, starts_ms
from spikelab.spikedata._merge import coincident
from spikelab.spikedata._one_neuron import JITTER_MS, REFRACTORY_MS, Side, changes, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikelab.spike_sorting.report.evidence.source import EvidenceSource
    from spikelab.spikedata._one_neuron import Judgement

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

SHOWN, TRIED = 5, 8  # units like another one that are shown, and whose templates are compared
LEAST_SHOWN = 0.2  # similarity, but of the most similar unit
NEAREST = 24  # channels of either unit, on which two templates are compared
MOST_LAG = 10  # frames, as where duplicates are merged
SAME_SPIKE_MS, VIOLATION_MS = 0.4, 1.5
CCG_REACH_MS, CCG_BIN_MS = 25.0, 0.5
ENOUGH = 5.0  # pairs of spikes that two neurons make within the refractory period: fewer tell nothing
WORDS = {"one": "one neuron", "two": "two neurons", "open": "cannot be told"}


@dataclass(frozen=True)
class Shape:
    """What two units are compared by."""

    frames: IntArray
    template: FloatArray  # uV (samples, channels)
    amplitudes: FloatArray  # uV (channels,)
    main: int  # channel
    group: Any = None
    snr: float = np.nan
    changes: bool = False  # its sorter has seen it move or change its size

    def times_ms(self, fs: float) -> FloatArray:
        """Return the times of the spikes."""
        times: FloatArray = self.frames.astype(np.float64) * (1000.0 / fs)
        return times

    def side(self, fs: float) -> Side:
        """Return what a pair of units is judged by."""
        return Side(self.times_ms(fs), self.template, self.snr, self.changes)


def shape_of(source: EvidenceSource, row: int) -> Shape:
    """Return what the unit at a row is compared by."""
    unit = source.attributes[row]
    template = np.asarray(unit["template_full"], dtype=np.float64)
    return Shape(
        source.frames[row], template, source.amplitudes[row], int(unit["channel"]), unit.get("group"),
        float(unit.get("snr", np.nan)), changes(unit),
    )  # fmt: skip


def similar_units(source: EvidenceSource, own: Shape, among: Sequence[int]) -> list[dict[str, Any]]:
    """Compare a unit with those at some rows; the most similar first."""
    rows = [row for row in among if source.groups[row] == own.group]
    found = []
    for row in _candidates(source, own, rows):
        other = shape_of(source, row)
        similarity, lag = _similarity(source.locations, own, other)
        if np.isfinite(similarity) and similarity > 0:
            found.append((similarity, lag, row, other))
    found.sort(key=lambda entry: (-entry[0], entry[2]))
    shown = [entry for place, entry in enumerate(found[:SHOWN]) if place == 0 or entry[0] >= LEAST_SHOWN]
    return [_compared(source, own, other, row, similarity, lag) for similarity, lag, row, other in shown]


def _candidates(source: EvidenceSource, own: Shape, rows: Sequence[int]) -> list[int]:
    """Choose the rows whose amplitudes over the electrodes are most like the unit's."""
    likeness = (source.directions @ own.amplitudes)[list(rows)]
    order = np.argsort(-likeness, kind="stable")[:TRIED]
    return [rows[index] for index in order.tolist() if likeness[index] > 0]


def _similarity(locations: FloatArray, a: Shape, b: Shape) -> tuple[float, int]:
    """Return the cosine of two templates at the best of their lags, on the channels near either, and the lag.

    The lag is by how many samples the same waveform comes later in the first template.
    """
    near = np.zeros(len(locations), dtype=np.bool_)
    for shape in (a, b):
        distance = np.linalg.norm(locations - locations[shape.main], axis=1)
        near[np.argsort(distance, kind="stable")[:NEAREST]] = True
    first, second = a.template[:, near], b.template[:, near]
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    if not norm > 0:
        return float("nan"), 0
    n, reach = len(first), min(MOST_LAG, len(first) - 1)
    sums = [
        float(np.vdot(first[max(0, lag) : n + min(0, lag)], second[max(0, -lag) : n - max(0, lag)]))
        for lag in range(-reach, reach + 1)
    ]
    best = int(np.argmax(sums))
    return sums[best] / norm, best - reach


def _compared(
    source: EvidenceSource, own: Shape, other: Shape, row: int, similarity: float, lag: int
) -> dict[str, Any]:
    fs, metadata = source.fs, source.units.metadata
    first, second = own.times_ms(fs), other.times_ms(fs)
    starts = starts_ms(metadata)
    found = judge(
        own.side(fs), other.side(fs), similarity=similarity, lag_frames=lag, frame_ms=1000 / fs,
        delta_ms=SAME_SPIKE_MS, length_ms=live_ms(source.units), starts=starts,
    )  # fmt: skip
    unit_id = source.unit_ids[row]
    joined = np.sort(np.concatenate([first, second[~coincident(second, first, SAME_SPIKE_MS, starts)]]))
    violations = count_short_intervals(joined, VIOLATION_MS, 0.0, starts) / max(len(joined), 1)
    reasons = _reasons(found, similarity, min(len(first), len(second)))
    reasons.append(
        ["", f"Together {100 * violations:.2g} % of the intervals would be shorter than {VIOLATION_MS:g} ms."]
    )
    width, n_bins = bins_of(fs, CCG_REACH_MS, CCG_BIN_MS)
    distance = float(np.linalg.norm(source.locations[own.main] - source.locations[other.main]))
    return {
        "id": unit_id,
        "similarity": round(similarity, 3),
        "lag_ms": round(lag * 1000 / fs, 2),
        "distance_um": round(distance, 1),
        "ccg": correlogram(own.frames, other.frames, width, n_bins, source.starts).tolist(),
        "verdict": _verdict(reasons),
        "reasons": reasons,
    }


def bins_of(fs: float, reach_ms: float, bin_ms: float) -> tuple[int, int]:
    """Return the width of a bin of a correlogram in frames, and the number of bins on each side, as SpikeInterface."""
    width = max(1, round(fs * bin_ms / 1000))
    return width, max(1, round(fs * reach_ms / 1000) // width)


def _verdict(reasons: Sequence[Sequence[str]]) -> str:
    kinds = {kind for kind, _ in reasons}
    return WORDS["one" if "one" in kinds else "two" if "two" in kinds else "open"]


def _reasons(found: Judgement, similarity: float, n_fewer: int) -> list[list[str]]:
    """Say what speaks for one neuron or for two, each with its kind."""
    pairs = f"{format_number(found.n_refractory)} pairs of spikes {REFRACTORY_MS[0]:g} to {REFRACTORY_MS[1]:g} ms apart"
    expected = f"two neurons would have {found.n_expected:.3g}"
    if found.verdict in ("coincident", "contained"):
        words = (
            f"{format_number(found.n_coincident)} of the {format_number(n_fewer)} spikes of the smaller unit come with "
            f"one of the other, within {JITTER_MS:g} ms of a lag of {found.lag_ms:.2g} ms (chance: "
            f"{found.n_by_chance:.2g})"
        )
        if found.verdict == "coincident":
            return [["one", f"{words}: the same spikes were found twice."]]
        return [["two", f"{words}, whose other spikes look otherwise: it has these besides its own."]]
    if found.verdict == "refractory":
        return [
            ["one", f"The templates are alike and the units keep each other's refractory period: {pairs}, {expected}."]
        ]
    if found.verdict == "successive":
        return [["one", "The templates are alike and one unit ends where the other begins."]]
    differ = similarity < ALIKE
    reasons = []
    if found.n_refractory > found.n_expected / 2 and found.n_expected >= ENOUGH:
        reasons.append(["two", f"They fire within each other's refractory period: {pairs}, {expected}."])
    elif found.n_expected >= ENOUGH:
        reasons.append(["open", f"Fewer spikes within the refractory period than of two neurons: {pairs}, {expected}."])
    elif not differ:
        reasons.append(["open", f"Too few spikes to tell by their refractory period: {pairs}, {expected}."])
    if differ:
        reasons.append(["two", f"Their templates differ (cosine {similarity:.2f}; from {ALIKE:g} they are alike)."])
    return reasons
