"""Merging duplicates: units that are one neuron found twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from spikelab.spike_sorting._exceptions import EmptyWaveformMetricsError
from spikelab.spikedata import _epochs
from spikelab.spikedata._waveform_metrics import compute_waveform_metrics

if TYPE_CHECKING:
    from spikelab.spikedata._base import BaseSpikeData, CriterionResult, Data

FloatArray = NDArray[np.float64]


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
    """Merge units that are close together, have similar templates and fire like one neuron.

    Units with different values of the neuron attribute ``group`` are never merged.
    Pairs are tried from the most to the least similar; merged units count as one. A spike of one unit
    within `delta_ms` of a spike of the other is the same event and is kept once. The better unit of a merge (higher
    ``snr`` where both have it, else more spikes) keeps its place and its attributes; its spike trains become the
    merged ones and ``merged_from`` lists the ids of the units it took in.

    Parameters
    ----------
    sd : SpikeData
        With positions (neuron attributes ``x`` and ``y``, or ``channel`` with ``metadata["channel_locations"]``) and
        templates (neuron attribute ``template``, else computed from `raw_data`).
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
        ``metric``: the highest similarity to a unit within `dist_um`, NaN for a unit without such a neighbour.
        ``passed``: False for the units that were merged into another one.

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
    pairs, similarity, metric = _similar_neighbours(sd, dist_um, max_lag)
    groups = _Groups(sd, isi_threshold_ms, delta_ms)
    evidence = []
    for k in np.argsort(-similarity, kind="stable"):
        if similarity[k] >= cosine_threshold:
            a, b = (int(unit) for unit in pairs[k])
            tried = groups.try_merge(a, b, max_violation_rate, max_isi_increase)
            if tried is not None:
                evidence.append(tried | {"similarity": float(similarity[k])})
    passed = np.array([unit in groups.trains for unit in range(sd.N)], dtype=bool)
    kept = np.flatnonzero(passed).tolist()
    merged = sd.replace(
        train=[groups.trains[unit] for unit in kept], neuron_attributes=[groups.attributes(unit) for unit in kept]
    )
    return merged, {"metric": metric, "passed": passed}, evidence


def _similar_neighbours(
    sd: BaseSpikeData, dist_um: float, max_lag: int
) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """Find pairs of units within `dist_um` (pairs, 2), their similarity, and each unit's highest similarity."""
    from scipy.spatial import cKDTree

    metric = np.full(sd.N, np.nan)
    if sd.N < 2:
        return np.empty((0, 2), dtype=np.int64), np.empty(0), metric
    pairs = cKDTree(_positions(sd)).query_pairs(dist_um, output_type="ndarray").astype(np.int64)
    pairs = _in_one_group(sd, pairs[np.lexsort(pairs.T[::-1])])
    templates = _templates(sd) if len(pairs) else []
    similarity = np.array([cosine_over_lags(templates[a], templates[b], max_lag) for a, b in pairs])
    for column in pairs.T:
        np.fmax.at(metric, column, similarity)
    return pairs, similarity, metric


def _in_one_group(sd: BaseSpikeData, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keep the pairs that were found on one group of channels, whatever `dist_um` is."""
    groups = [values.get("group") for values in sd.neuron_attributes]
    return np.array([[a, b] for a, b in pairs.tolist() if groups[a] == groups[b]], dtype=np.int64).reshape(-1, 2)


def _positions(sd: BaseSpikeData) -> FloatArray:
    locations = sd.metadata.get("channel_locations")
    positions = np.full((sd.N, 2), np.nan)
    for i, values in enumerate(sd.neuron_attributes):
        if "x" in values and "y" in values:
            positions[i] = values["x"], values["y"]
        elif "channel" in values and locations is not None:
            positions[i] = np.asarray(locations)[values["channel"], :2]
    unknown = ~np.isfinite(positions).all(axis=1)
    if unknown.any():
        raise ValueError(
            f"{unknown.sum()} of {sd.N} units have no position; expected the neuron attributes 'x' and 'y' in "
            "micrometres, or 'channel' with metadata['channel_locations'] (unit_locations is None)"
        )
    return positions


def _templates(sd: BaseSpikeData) -> list[FloatArray]:
    if not all("template" in values for values in sd.neuron_attributes):
        if not sd.raw_data.size:
            raise EmptyWaveformMetricsError(
                "duplicates cannot be merged: not every unit has the neuron attribute 'template' and raw_data is empty",
                metric_name="template",
            )
        sd, _ = compute_waveform_metrics(sd)
    shapes = [np.shape(values.get("template", np.empty((0, 0)))) for values in sd.neuron_attributes]
    shape = max(shapes)
    # A unit without a single fitting window has no template: a template of NaN is similar to no other.
    templates = [np.asarray(v.get("template", np.full(shape, np.nan)), np.float64) for v in sd.neuron_attributes]
    if len({template.shape for template in templates}) > 1:
        raise ValueError(f"templates must have one shape (samples, channels), got {sorted(set(shapes))}")
    return templates


def cosine_over_lags(a: FloatArray, b: FloatArray, max_lag: int) -> float:
    """Compute the highest cosine similarity of two templates (samples, channels) over lags of up to `max_lag` samples.

    Samples that a lag moves out of the window count as zero. NaN where a template is zero or NaN.
    """
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    if not norm > 0:
        return float("nan")
    n = len(a)
    lags = range(-min(max_lag, n - 1), min(max_lag, n - 1) + 1)
    return max(float(np.vdot(a[max(0, lag) : n + lag], b[max(0, -lag) : n - lag])) for lag in lags) / float(norm)


class _Groups:
    """Groups of merged units: train and members of each group, by its best unit."""

    def __init__(self, sd: BaseSpikeData, isi_threshold_ms: float, delta_ms: float) -> None:
        self._sd, self._threshold, self._delta = sd, isi_threshold_ms, delta_ms
        self._starts = _epochs.starts_ms(sd.metadata)
        self._group_of = list(range(sd.N))
        self._frames = [values.get("spike_train_samples") for values in sd.neuron_attributes]
        self.trains = dict(enumerate(sd.train))
        self.members = {unit: [unit] for unit in range(sd.N)}

    def try_merge(self, a: int, b: int, max_rate: float, max_increase: float) -> Evidence | None:
        """Merge the groups of two units where the merged train fits one neuron; None if they are one group."""
        a, b = self._group_of[a], self._group_of[b]
        if a == b:
            return None
        best, other = (a, b) if self._quality(a, b) >= self._quality(b, a) else (b, a)
        new = ~coincident(self.trains[other], self.trains[best], self._delta, self._starts)
        times = np.concatenate([self.trains[best], self.trains[other][new]])
        order = np.argsort(times, kind="stable")
        times = times[order]
        rate = self._violations(times) / max(len(times), 1)
        both = self._violations(self.trains[a]) + self._violations(self.trains[b])
        before = both / max(len(self.trains[a]) + len(self.trains[b]), 1)
        evidence: Evidence = {
            "kept": self._sd.unit_ids[best],
            "other": self._sd.unit_ids[other],
            "merged": not (rate > max_rate or rate - before > max_increase),
            "n_spikes": [len(self.trains[best]), len(self.trains[other])],
            "n_coincident": int((~new).sum()),
            "violation_rate_before": before,
            "violation_rate": rate,
        }
        if evidence["merged"]:
            self._join(best, other, new, order, times)
        return evidence

    def _join(self, best: int, other: int, new: NDArray[np.bool_], order: NDArray[np.int64], times: FloatArray) -> None:
        frames = [self._frames[unit] for unit in (best, other)]
        self._frames[best] = None  # where a unit has no ``spike_train_samples``, or not one per spike
        if all(f is not None and len(f) == len(self.trains[u]) for f, u in zip(frames, (best, other), strict=True)):
            self._frames[best] = np.concatenate([np.asarray(frames[0]), np.asarray(frames[1])[new]])[order]
        self.trains[best] = times
        del self.trains[other]
        self.members[best] += self.members.pop(other)
        for unit in self.members[best]:
            self._group_of[unit] = best

    def attributes(self, unit: int) -> dict[str, Any]:
        """Return the attributes of the group whose best unit is `unit`."""
        values = dict(self._sd.neuron_attributes[unit])
        if len(self.members[unit]) == 1:
            return values
        values.pop("spike_train_samples", None)
        if self._frames[unit] is not None:
            values["spike_train_samples"] = self._frames[unit]
        ids, attributes = self._sd.unit_ids, self._sd.neuron_attributes
        earlier = [id_ for member in self.members[unit] for id_ in attributes[member].get("merged_from", [])]
        return {**values, "merged_from": earlier + [ids[member] for member in self.members[unit] if member != unit]}

    def _quality(self, unit: int, rival: int) -> float:
        snr, other = (self._sd.neuron_attributes[i].get("snr", np.nan) for i in (unit, rival))
        return float(snr) if np.isfinite(snr) and np.isfinite(other) else len(self.trains[unit])

    def _violations(self, times: FloatArray) -> int:
        return _epochs.count_short_intervals(times, self._threshold, 0.0, self._starts)


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
