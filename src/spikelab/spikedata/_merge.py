"""Merging duplicates: units that are one neuron found twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from spikelab.spike_sorting._exceptions import EmptyWaveformMetricsError
from spikelab.spikedata import _epochs
from spikelab.spikedata._alike import best_lag, without
from spikelab.spikedata._attributes import unit_locations
from spikelab.spikedata._dead_time import live_ms
from spikelab.spikedata._one_neuron import Side, changes, judge
from spikelab.spikedata._waveform_metrics import measure, rate_hz

if TYPE_CHECKING:
    from spikelab.spikedata._base import BaseSpikeData, CriterionResult, Data
    from spikelab.spikedata._one_neuron import Judgement, Verdict

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Evidence(TypedDict, total=False):
    """Evidence for or against the merge of two similar neighbours, either of which may have been merged before."""

    kept: Any  # ids of the two units
    other: Any
    merged: bool
    similarity: float
    n_spikes: list[int]  # of `kept` and of `other`
    n_coincident: int  # spikes of `other` that `kept` has as well
    violation_rate_before: float  # fraction of the spikes of both trains whose interval is a violation
    violation_rate: float  # the same of the merged train
    # Why the two are one neuron: "coincident" (one spike found twice), "refractory" (never within the refractory period
    # of each other), "successive" (one ends where the other begins); or "different"; or "contained" (the larger one
    # holds the spikes of the smaller one besides its own).
    verdict: Verdict
    taken_from: Any  # of "contained" ones: id of the larger unit, and how many spikes were taken out of it
    n_taken: int
    lag_ms: float  # how much later the spikes of `other` are
    n_at_lag: int  # coincidences at that lag, none more than 0.2 ms off
    n_by_chance: float  # coincidences that their rates make
    n_refractory: int  # pairs of spikes 0.5 to 2 ms apart
    n_expected: float  # of them, if the two fired independently


def curate_by_merge_duplicates(
    sd: Data,
    dist_um: float = 24.8,
    max_violation_rate: float = 0.04,
    isi_threshold_ms: float = 1.5,
    cosine_threshold: float = 0.5,
    max_lag: int = 10,
    delta_ms: float = 0.4,
    max_isi_increase: float = 0.04,
) -> tuple[Data, CriterionResult]:
    """Merge units that are close together, have similar templates and are one neuron by their spikes.

    Two units are one neuron where

    - most spikes of either coincide with the other's, at one lag and far more often than chance makes them: each spike
      was found twice. The lag is 0, or the one at which the templates are alike. Or most spikes of the smaller one
      alone do, and the larger one's other spikes look like these;
    - or their templates are alike (cosine of 0.8 at the best lag) and they never fire within 0.5 to 2 ms of each
      other, although they do at 3 to 20 ms, so often that chance cannot have left the gap: the spikes of one neuron
      were shared out;
    - or their templates are nearly the same (0.95; 0.8 where either was seen to move or to change its size) and
      one unit ends where the other begins: the neuron was lost and found again.

    Distance, similarity and violations below are necessary besides. Too few spikes to show any of the three are no
    reason to merge.

    Where most spikes of the smaller one coincide with the other's, and the other's remaining spikes look otherwise or
    are less than half as large, the larger unit holds the spikes of the smaller one besides its own: both stay, and
    these spikes are taken out of the larger one. Its other attributes stay as they were measured.

    Units with different values of the neuron attribute ``group`` are never merged.
    Pairs are tried from the most to the least similar; merged units count as one. A spike of one unit
    within `delta_ms` of a spike of the other is the same event and is kept once. The better unit of a merge (higher
    ``snr`` where both have it, else more spikes) keeps its place and its attributes; its spike trains become the
    merged ones and ``merged_from`` lists the ids of the units it took in. Spikes that come at a lag of more than
    `delta_ms` are moved to the better unit's clock.

    Parameters
    ----------
    sd : SpikeData
        With positions (`unit_locations`: neuron attributes ``x`` and ``y``, ``location``, ``position``, or ``channel``
        with ``metadata["channel_locations"]``) and templates (neuron attribute ``template``, else computed from
        `raw_data`).
    dist_um : float, default 24.8
        Largest distance of a pair in micrometres.
    max_violation_rate : float, default 0.04
        Largest fraction of refractory violations of the merged train.
    isi_threshold_ms : float, default 1.5
        Intervals below it are violations.
    cosine_threshold : float, default 0.5
        Least cosine similarity of the two templates, the largest over all lags up to `max_lag`.
    max_lag : int, default 10
        In samples.
    delta_ms : float, default 0.4
        Spikes of the two units this close are one.
    max_isi_increase : float, default 0.04
        How far the merged fraction of violations may exceed that of the two units taken together.

    Returns
    -------
    SpikeData
        With one unit per group of duplicates.
    dict
        ``metric``: of a unit that was merged into another one, the similarity of the pair that the merge was made
        for; 0 for all others. ``passed``: False for the units that were merged into another one.

    Raises
    ------
    ValueError
        A unit has no position.
    EmptyWaveformMetricsError
        There are neither templates nor raw data.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> about = {"x": 0.0, "y": 0.0, "template": [[0.0], [-50.0], [10.0]]}
    >>> sd = SpikeData([[10, 30, 50], [10, 30]], length=100, neuron_attributes=[about, about])
    >>> merged, result = sd.curate_by_merge_duplicates()
    >>> merged, result["passed"].tolist()
    (SpikeData(N=1, 3 spikes, [0, 100] ms), [True, False])
    """
    merged, result, _ = merge_duplicates(
        sd, dist_um, max_violation_rate, isi_threshold_ms, cosine_threshold, max_lag, delta_ms, max_isi_increase
    )
    return merged, result


def merge_duplicates(
    sd: Data,
    dist_um: float = 24.8,
    max_violation_rate: float = 0.04,
    isi_threshold_ms: float = 1.5,
    cosine_threshold: float = 0.5,
    max_lag: int = 10,
    delta_ms: float = 0.4,
    max_isi_increase: float = 0.04,
) -> tuple[Data, CriterionResult, list[Evidence]]:
    """Merge like :func:`curate_by_merge_duplicates`; return also the evidence on each pair that was tried, in order."""
    pairs = _neighbours(sd, dist_um)
    templates = _templates(sd) if len(pairs) else []
    similarity, lags = _similarities(templates, pairs, max_lag)
    groups = _Groups(sd, templates, isi_threshold_ms, delta_ms)
    evidence = []
    for k in np.argsort(-similarity, kind="stable"):
        if similarity[k] >= cosine_threshold:
            a, b = (int(unit) for unit in pairs[k])
            tried = groups.try_merge(
                _Pair(a, b, float(similarity[k]), int(lags[k])), max_violation_rate, max_isi_increase
            )
            if tried is not None:
                evidence.append(tried | {"similarity": float(similarity[k])})
    passed = np.array([unit in groups.trains for unit in range(sd.N)], dtype=bool)
    kept = np.flatnonzero(passed).tolist()
    merged = sd.replace(
        train=[groups.trains[unit] for unit in kept],
        neuron_attributes=sd.neuron_attributes and [groups.attributes(unit) for unit in kept],
    )
    return merged, {"metric": groups.similarity, "passed": passed}, evidence


class _Pair(NamedTuple):
    """Two units, their similarity and the lag in samples at which it is highest."""

    a: int
    b: int
    similarity: float
    lag: int


def _neighbours(sd: BaseSpikeData, dist_um: float) -> IntArray:
    """Find pairs of units within `dist_um` (pairs, 2)."""
    from scipy.spatial import cKDTree

    if sd.N < 2:
        return np.empty((0, 2), dtype=np.int64)
    pairs = cKDTree(_positions(sd)).query_pairs(dist_um, output_type="ndarray").astype(np.int64)
    return _in_one_group(sd, pairs[np.lexsort(pairs.T[::-1])])


def _similarities(templates: list[FloatArray], pairs: IntArray, max_lag: int) -> tuple[FloatArray, IntArray]:
    """Measure similarity and lag of each pair."""
    found = [best_lag(templates[a], templates[b], max_lag) for a, b in pairs]
    similarity = np.array([cosine for cosine, _ in found])
    return similarity, np.array([lag for _, lag in found], dtype=np.int64)


def _in_one_group(sd: BaseSpikeData, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keep the pairs that were found on one group of channels, whatever `dist_um` is."""
    groups = [values.get("group") for values in sd.unit_attributes]
    return np.array([[a, b] for a, b in pairs.tolist() if groups[a] == groups[b]], dtype=np.int64).reshape(-1, 2)


def _positions(sd: BaseSpikeData) -> FloatArray:
    places = unit_locations(sd)
    n_unknown = sd.N if places is None else int((~np.isfinite(places)).any(axis=1).sum())
    if places is None or n_unknown:
        raise ValueError(
            f"{n_unknown} of {sd.N} units have no position; expected the neuron attributes 'x' and 'y' in micrometres, "
            "'location', 'position', or 'channel' with metadata['channel_locations'] (unit_locations is None)"
        )
    return places


def _templates(sd: BaseSpikeData) -> list[FloatArray]:
    units = sd.unit_attributes
    if not all("template" in values for values in units):
        if not sd.raw_data.size:
            raise EmptyWaveformMetricsError(
                "duplicates cannot be merged: not every unit has the neuron attribute 'template' and raw_data is empty",
                metric_name="template",
            )
        units, _ = measure(sd)
    shapes = [np.shape(values.get("template", np.empty((0, 0)))) for values in units]
    shape = max(shapes)
    # A unit without a single fitting window has no template: a template of NaN is similar to no other.
    templates = [np.asarray(values.get("template", np.full(shape, np.nan)), np.float64) for values in units]
    if len({template.shape for template in templates}) > 1:
        raise ValueError(f"templates must have one shape (samples, channels), got {sorted(set(shapes))}")
    return [template.reshape(len(template), -1) for template in templates]  # (samples,) is one channel


class _Groups:
    """Groups of merged units: train and members of each group, by its best unit."""

    def __init__(
        self, sd: BaseSpikeData, templates: list[FloatArray], isi_threshold_ms: float, delta_ms: float
    ) -> None:
        self._sd, self._threshold, self._delta = sd, isi_threshold_ms, delta_ms
        self._starts = _epochs.starts_ms(sd.metadata)
        self._frame_ms = _frame_ms(sd)
        self._group_of = list(range(sd.N))
        self._moved = [0] * sd.N  # frames by which the spikes of a unit were moved to the clock of its group
        self._frames = [values.get("spike_train_samples") for values in sd.unit_attributes]
        self._templates, self._less = templates, set[int]()  # units that spikes were taken out of
        self.similarity = np.zeros(sd.N)  # of the merge in which a unit was taken in
        self.trains = dict(enumerate(sd.train))
        self.members = {unit: [unit] for unit in range(sd.N)}

    def try_merge(self, pair: _Pair, max_rate: float, max_increase: float) -> Evidence | None:
        """Merge the groups of two units that are one neuron, also by their violations; None if they are one group."""
        a, b = self._group_of[pair.a], self._group_of[pair.b]
        if a == b:
            return None
        # How many frames later the spikes of the group of b are: the same waveform comes earlier in b's template.
        lag = pair.lag + self._moved[pair.b] - self._moved[pair.a]
        if self._quality(a, b) < self._quality(b, a):
            a, b, lag = b, a, -lag
        found = self._judge(a, b, pair.similarity, lag)
        move = -lag if found.verdict != "different" and self._is_elsewhere(found.lag_ms) else 0
        joined = self._join(a, b, move)
        rate = self._violations(joined.times) / max(len(joined.times), 1)
        both = self._violations(self.trains[a]) + self._violations(self.trains[b])
        before = both / max(len(self.trains[a]) + len(self.trains[b]), 1)
        evidence: Evidence = {
            "kept": self._sd.unit_ids[a],
            "other": self._sd.unit_ids[b],
            "merged": found.is_one and not (rate > max_rate or rate - before > max_increase),
            "n_spikes": [len(self.trains[a]), len(self.trains[b])],
            "n_coincident": joined.n_coincident,
            "violation_rate_before": before,
            "violation_rate": rate,
            "verdict": found.verdict,
            "lag_ms": found.lag_ms,
            "n_at_lag": found.n_coincident,
            "n_by_chance": found.n_by_chance,
            "n_refractory": found.n_refractory,
            "n_expected": found.n_expected,
        }
        if evidence["merged"]:
            self._take_in(a, b, joined, move)
            self.similarity[b] = pair.similarity
        if found.verdict == "contained":
            evidence |= self._take_out(a, b, found.lag_ms)
        return evidence

    def _side(self, unit: int) -> Side:
        values = self._sd.unit_attributes[unit]
        changed = any(changes(self._sd.unit_attributes[member]) for member in self.members[unit])
        return Side(self.trains[unit], self._templates[unit], float(values.get("snr", np.nan)), changed)

    def _judge(self, a: int, b: int, similarity: float, lag: int) -> Judgement:
        return judge(
            self._side(a),
            self._side(b),
            similarity=similarity,
            lag_frames=lag,
            frame_ms=self._frame_ms,
            delta_ms=self._delta,
            length_ms=live_ms(self._sd),
            starts=self._starts,
        )

    def _is_elsewhere(self, lag_ms: float) -> bool:
        return abs(lag_ms) > self._delta

    def _join(self, best: int, other: int, move: int) -> _Joined:
        """Put two trains together, those of the other moved by some frames."""
        moved = self.trains[other] + move * self._frame_ms
        inside = (moved >= self._sd.start_time) & (moved <= self._sd.start_time + self._sd.length)
        twice = coincident(moved, self.trains[best], self._delta, self._starts)
        new = inside & ~twice
        times = np.concatenate([self.trains[best], moved[new]])
        order = np.argsort(times, kind="stable")
        return _Joined(times[order], new, order, int(twice.sum()))

    def _take_in(self, best: int, other: int, joined: _Joined, move: int) -> None:
        frames = [self._frames[unit] for unit in (best, other)]
        self._frames[best] = None  # where a unit has no ``spike_train_samples``, or not one per spike
        if all(f is not None and len(f) == len(self.trains[u]) for f, u in zip(frames, (best, other), strict=True)):
            own, others = np.asarray(frames[0]), np.asarray(frames[1])[joined.new] + move
            self._frames[best] = np.concatenate([own, others])[joined.order]
        self.trains[best] = joined.times
        del self.trains[other]
        for unit in self.members[other]:
            self._moved[unit] += move
            self._group_of[unit] = best
        self.members[best] += self.members.pop(other)

    def _take_out(self, a: int, b: int, lag_ms: float) -> Evidence:
        """Take the spikes of the smaller unit out of the larger one; those of b are so much later."""
        larger, smaller, late = (a, b, lag_ms) if len(self.trains[a]) > len(self.trains[b]) else (b, a, -lag_ms)
        train, frames = self.trains[larger], self._frames[larger]
        own = ~coincident(train, self.trains[smaller] - late, self._delta, self._starts)
        frame = round(late / self._frame_ms) if self._frame_ms else 0
        self._templates[larger], _ = without(
            self._templates[larger], self._templates[smaller], float((~own).mean()), frame
        )
        self.trains[larger] = train[own]
        fits = frames is not None and len(frames) == len(train)
        self._frames[larger] = np.asarray(frames)[own] if fits else None
        self._less.add(larger)
        return {"taken_from": self._sd.unit_ids[larger], "n_taken": int((~own).sum())}

    def attributes(self, unit: int) -> dict[str, Any]:
        """Return the attributes of the group whose best unit is `unit`."""
        values = dict(self._sd.unit_attributes[unit])
        if len(self.members[unit]) == 1 and unit not in self._less:
            return values
        values.pop("spike_train_samples", None)
        if self._frames[unit] is not None:
            values["spike_train_samples"] = self._frames[unit]
        if len(self.members[unit]) == 1:
            return values
        ids, attributes = self._sd.unit_ids, self._sd.unit_attributes
        earlier = [id_ for member in self.members[unit] for id_ in attributes[member].get("merged_from", [])]
        return {**values, "merged_from": earlier + [ids[member] for member in self.members[unit] if member != unit]}

    def _quality(self, unit: int, rival: int) -> float:
        snr, other = (self._sd.unit_attributes[i].get("snr", np.nan) for i in (unit, rival))
        return float(snr) if np.isfinite(snr) and np.isfinite(other) else len(self.trains[unit])

    def _violations(self, times: FloatArray) -> int:
        return _epochs.count_short_intervals(times, self._threshold, 0.0, self._starts)


class _Joined(NamedTuple):
    """Train of two units together."""

    times: FloatArray
    new: NDArray[np.bool_]  # which spikes of the other unit are in it
    order: IntArray  # of the best unit's spikes, then the new ones
    n_coincident: int  # spikes of the other unit that the best one has


def _frame_ms(sd: BaseSpikeData) -> float:
    """Return the length of a sample of the templates; 0 where it is not known, and lags cannot be told."""
    fs = sd.metadata.get("fs_Hz")
    if fs is None and len(sd.raw_time) > 1:
        return 1000.0 / rate_hz(sd)
    return 1000.0 / float(fs) if fs else 0.0


def coincident(
    times: FloatArray, reference: FloatArray, delta_ms: float, starts: FloatArray | None = None
) -> NDArray[np.bool_]:
    """Mark those of `times` that lie within `delta_ms` of a time in `reference`, in the same epoch; both ascending."""
    if starts is not None:
        # Epochs are moved apart, for between them any time may have passed.
        times, reference = (part + (delta_ms + 1) * _epochs.epoch_of(part, starts) for part in (times, reference))
    nearest = np.searchsorted(reference, times)
    padded = np.concatenate([[-np.inf], reference, [np.inf]])
    near: NDArray[np.bool_] = np.minimum(times - padded[nearest], padded[nearest + 1] - times) <= delta_ms
    return near
