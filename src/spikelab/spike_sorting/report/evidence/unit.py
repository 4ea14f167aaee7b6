"""Evidence on one unit, also on one that a person makes of the spikes of others."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.curation.criteria import in_force
from spikelab.spike_sorting.curation.histograms import isi_histogram
from spikelab.spike_sorting.report._probe import unit_position
from spikelab.spike_sorting.report._validation import expected_words
from spikelab.spike_sorting.report._words import format_number
from spikelab.spike_sorting.report.evidence import packing
from spikelab.spike_sorting.report.evidence.similar import Shape, bins_of, shape_of, similar_units
from spikelab.spike_sorting.report.evidence.thinning import n_stretches, thinned
from spikelab.spikedata._correlograms import correlogram
from spikelab.spikedata._dead_time import live_ms
from spikelab.spikedata._epochs import intervals, starts_ms
from spikelab.system.json_files import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from spikelab.spike_sorting.report.evidence.source import EvidenceSource

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

ACG_REACH_MS, ACG_BIN_MS = 50.0, 0.5
FOOTPRINT_UM, FEW_UNITS = 120.0, 300
FOOTPRINT_CHANNELS = (24, 14)  # of few units, of many
SHADES = 50  # of the map of amplitudes
FOOTPRINT_MS = (1.0, 2.0)  # before and after the spike
SEEN_SHARE = 0.12  # of the main amplitude: from here a spike's time on an electrode is told
ATTRIBUTES = (
    "label", "decided", "merged_from", "split_from", "sorter_unit_id", "imported_label", "group", "electrode",
)  # fmt: skip


@dataclass(frozen=True)
class UnitEvidence:
    """What the page shows of one unit; arrays are packed, see :mod:`.packing`.

    Attributes
    ----------
    id : int
    n_spikes : int
    span_s : list of float
        Time of the first spike, and of the last.
    rate_hz : float or None
    channel : int
        The main one.
    channel_id : str
    place : list of float
        In um.
    kept : bool or None
        None for a unit that curation has not seen.
    why : list of str
        Why it was kept or not.
    expected : str
        What a validation tells of it, in words; "" without one, and of a new unit.
    attributes : dict
        Those of `ATTRIBUTES` that the unit has.
    mean, spread : list
        Template on the main channel, and standard deviation of the spikes around it (None where unknown), in uV.
    peak : int
        Sample of the spike in `mean`.
    footprint : dict
        ``channels`` nearby, the main one first; ``waves``, (channels, samples) uV one channel after the other, with
        their ``peak`` sample; ``latency_ms`` of the channels that see the spike, None of the others.
    amplitudes : dict
        On all channels, uV.
    acg, isi : dict
        ``counts`` with ``bin_ms``; ``counts`` and ``edges`` in ms.
    spikes : dict or None
        ``n`` spikes, ``drawn`` of them with ``frames``, ``amplitude`` in uV, ``x`` and ``y`` in um; ``stretches``: of
        how many stretches of time the extremes are among them. None where spikes were not measured.
    similar : list of dict
        The most similar units: see :func:`.similar_units`.
    """

    id: int
    n_spikes: int
    span_s: list[float]
    rate_hz: float | None
    channel: int
    channel_id: str
    place: list[float | None]
    kept: bool | None
    why: list[str]
    expected: str
    attributes: dict[str, Any]
    mean: list[float | None] = field(repr=False)
    spread: list[float | None] | None = field(repr=False)
    peak: int
    footprint: dict[str, Any] = field(repr=False)
    amplitudes: dict[str, Any] = field(repr=False)
    acg: dict[str, Any] = field(repr=False)
    isi: dict[str, Any] = field(repr=False)
    spikes: dict[str, Any] | None = field(repr=False)
    similar: list[dict[str, Any]] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the values of JSON that the page takes."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}


def evidence_of(
    source: EvidenceSource,
    unit_id: int,
    spikes: ArrayLike | None = None,
    *,
    among: Sequence[int] | None = None,
    attributes: dict[str, Any] | None = None,
) -> UnitEvidence:
    """Gather the evidence on a unit.

    Parameters
    ----------
    source : EvidenceSource
    unit_id : int
        Of a unit of the sort or, with `spikes`, of a new one.
    spikes : array_like of int, optional
        The spikes of a unit that is not in the sort, as places among all spikes, unit after unit (`source.offsets`).
    among : sequence of int, optional
        Rows of the units that it is compared with; all that have none of its spikes by default.
    attributes : dict, optional
        Of a new unit, such as ``merged_from``.

    Returns
    -------
    UnitEvidence

    Raises
    ------
    KeyError
        There is no such unit in the sort, and no `spikes` were given.
    ValueError
        `spikes` is empty, or has places that no spike is at.
    """
    parts = _parts_of(source, unit_id, spikes)
    shape, main = parts.shape, parts.shape.main
    times = shape.times_ms(source.fs)
    known = source.attributes[source.rows[unit_id]] if spikes is None else (attributes or {})
    near, footprint = _footprint(source, shape)
    width, n_bins = bins_of(source.fs, ACG_REACH_MS, ACG_BIN_MS)
    counts, edges = isi_histogram(intervals(times, starts_ms(source.units.metadata)))
    others = among if among is not None else [row for row in range(source.units.N) if row not in parts.members]
    kept, why, expected = (*_verdict(source, unit_id), _expected(source, unit_id)) if spikes is None else (None, [], "")
    return UnitEvidence(
        id=unit_id,
        n_spikes=len(times),
        span_s=_span_s(times),
        rate_hz=_rate_hz(source, len(times)),
        channel=main,
        channel_id=str(_channel_ids(source)[main]),
        place=packing.rounded(_place(source, shape)),
        kept=kept,
        why=why,
        expected=expected,
        attributes={name: plain(known[name]) for name in ATTRIBUTES if known.get(name) is not None},
        mean=packing.rounded(shape.template[:, main]),
        spread=None if parts.spread is None else packing.rounded(parts.spread, 3),
        peak=int(source.units.metadata["template_full_peak_ind"]),
        footprint=footprint | {"channels": near.tolist()},
        amplitudes=packing.in_bytes(shape.amplitudes, SHADES),
        acg={
            "counts": correlogram(shape.frames, shape.frames, width, n_bins, source.starts, same=True).tolist(),
            "bin_ms": width * 1000 / source.fs,
        },
        isi={"counts": counts.tolist(), "edges": packing.rounded(edges)},
        spikes=_drawn(source, parts),
        similar=similar_units(source, shape, others),
    )


def _span_s(times_ms: FloatArray) -> list[float]:
    """Return the times of the first spike and of the last."""
    return [round(float(times_ms[end]) / 1000, 4) for end in (0, -1)] if len(times_ms) else [0.0, 0.0]


def _rate_hz(source: EvidenceSource, n_spikes: int) -> float | None:
    """Divide by the time that is not dead; None where there is none."""
    live_s = live_ms(source.units) / 1000
    return float(f"{n_spikes / live_s:.4g}") if live_s > 0 else None


@dataclass(frozen=True)
class _Parts:
    """A unit put together of spikes of units of the sort, in time order."""

    shape: Shape
    members: list[int]  # rows of the units that it has spikes of
    spread: FloatArray | None
    amplitudes: FloatArray | None  # of each spike, uV
    places: FloatArray | None  # of each spike, um


def _parts_of(source: EvidenceSource, unit_id: int, spikes: ArrayLike | None) -> _Parts:
    measured = source.measured
    if spikes is None:
        row = source.rows[unit_id]
        own = slice(int(source.offsets[row]), int(source.offsets[row + 1]))
        spread = None if measured is None else measured.spreads[row].astype(np.float64)
        return _Parts(shape_of(source, row), [row], spread, *_sizes(source, own))
    chosen = np.unique(np.asarray(spikes, dtype=np.int64))
    if not len(chosen) or chosen[0] < 0 or chosen[-1] >= source.offsets[-1]:
        raise ValueError(
            f"the spikes of unit {unit_id} must be places from 0 to {source.offsets[-1] - 1}, at least one"
        )
    frames = np.concatenate(source.frames)[chosen]
    order = np.argsort(frames, kind="stable")
    chosen, frames = chosen[order], frames[order]
    rows, counts = np.unique(np.searchsorted(source.offsets, chosen, side="right") - 1, return_counts=True)
    units = [source.attributes[row] for row in rows.tolist()]
    template = np.average(
        [np.asarray(unit["template_full"], dtype=np.float64) for unit in units], axis=0, weights=counts
    )
    amplitudes = np.nan_to_num(np.abs(template).max(axis=0))
    shape = Shape(frames, template, amplitudes, int(np.argmax(amplitudes)), units[0].get("group"))
    return _Parts(shape, rows.tolist(), _joined_spread(source, shape, rows, counts), *_sizes(source, chosen))


def _joined_spread(source: EvidenceSource, joined: Shape, rows: IntArray, counts: IntArray) -> FloatArray | None:
    """Join the spreads of several units around their common mean; None where they have other main channels."""
    shapes = [shape_of(source, row) for row in rows.tolist()]
    if source.measured is None or any(shape.main != joined.main for shape in shapes):
        return None
    apart = np.array([shape.template[:, joined.main] - joined.template[:, joined.main] for shape in shapes])
    joint: FloatArray = np.sqrt(np.average(source.measured.spreads[rows] ** 2 + apart**2, axis=0, weights=counts))
    return joint


def _sizes(source: EvidenceSource, spikes: slice | IntArray) -> tuple[FloatArray | None, FloatArray | None]:
    measured = source.measured
    if measured is None:
        return None, None
    return measured.amplitudes[spikes].astype(np.float64), measured.places[spikes].astype(np.float64)


def _channel_ids(source: EvidenceSource) -> Sequence[Any]:
    return source.channel_ids or range(len(source.locations))


def _place(source: EvidenceSource, shape: Shape) -> tuple[float, float]:
    x, y = source.locations[shape.main]
    return unit_position({"x": x, "y": y, "amplitudes": shape.amplitudes}, source.locations)


def _footprint(source: EvidenceSource, shape: Shape) -> tuple[IntArray, dict[str, Any]]:
    """Cut the template on the electrodes nearby, and tell when the spike reaches each."""
    distance = np.linalg.norm(source.locations - source.locations[shape.main], axis=1)
    distance[shape.main] = -1.0
    most = FOOTPRINT_CHANNELS[source.units.N > FEW_UNITS]
    near = np.argsort(distance, kind="stable")[:most]
    near = near[distance[near] <= FOOTPRINT_UM]
    peak = int(source.units.metadata["template_full_peak_ind"])
    first = max(0, peak - round(FOOTPRINT_MS[0] * source.fs / 1000))
    waves = shape.template[first : peak + round(FOOTPRINT_MS[1] * source.fs / 1000) + 1, near].T
    seen = shape.amplitudes[near] >= SEEN_SHARE * shape.amplitudes[shape.main]
    latency = _latencies(shape.template[:, near]) * 1000 / source.fs
    return near, {
        "waves": packing.signed_bytes(waves),
        "peak": peak - first,
        "latency_ms": packing.rounded(np.where(seen, np.round(latency, 3), np.nan)),
    }


def _latencies(waves: FloatArray) -> FloatArray:
    """Find how many samples later than on the first channel the extreme of its sign comes on each, between samples."""
    waves = np.nan_to_num(waves)
    sign = np.sign(waves[np.argmax(np.abs(waves[:, 0])), 0]) or 1.0
    heights = sign * waves
    at = np.clip(np.argmax(heights, axis=0), 1, max(1, len(waves) - 2))
    if len(waves) < 3:
        return np.zeros(waves.shape[1])
    columns = np.arange(waves.shape[1])
    before, middle, after = heights[at - 1, columns], heights[at, columns], heights[at + 1, columns]
    bend = before - 2 * middle + after
    shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1.0), 0.0)
    places = at + np.clip(shift, -0.5, 0.5)
    latencies: FloatArray = places - places[0]
    return latencies


def _drawn(source: EvidenceSource, parts: _Parts) -> dict[str, Any] | None:
    """Choose and pack the spikes that are drawn over time."""
    amplitudes, places = parts.amplitudes, parts.places
    if amplitudes is None or places is None:
        return None
    frames, most = parts.shape.frames, source.most_drawn
    shown = thinned(frames, [amplitudes, places[:, 0], places[:, 1]], source.n_samples, most)
    return {
        "n": len(frames),
        "drawn": len(shown),
        "stretches": n_stretches(most, 3) if len(shown) < len(frames) else 0,
        "frames": packing.ascending(frames[shown]),
        "amplitude": packing.in_tenths(amplitudes[shown]),
        "x": packing.in_bytes(places[shown, 0]),
        "y": packing.in_bytes(places[shown, 1]),
    }


def _expected(source: EvidenceSource, unit_id: int) -> str:
    return "" if source.validation is None else expected_words(source.validation.units.get(unit_id))


def _verdict(source: EvidenceSource, unit_id: int) -> tuple[bool, list[str]]:
    """Say whether a unit was kept, and which criteria it met or missed."""
    row, unit = source.metrics[unit_id], source.attributes[source.rows[unit_id]]
    missed, met = [], 0
    for criterion, threshold in in_force(source.curation):
        name = criterion.metric.name
        value = float(row.get(name, unit.get(name, np.nan)))
        if criterion.passes(np.array([value]), threshold)[0]:
            met += 1
        else:
            label = criterion.metric.label(source.curation)
            missed.append(f"{label}: {format_number(value)}, where {criterion.words(threshold)} is asked for.")
    if row.get("merged_into") is not None:
        missed.append(f"It was merged into unit {row['merged_into']}, as one neuron found twice.")
    if row["passed"] and not missed:
        return True, [f"It meets all {met} criteria in force." if met else "No criterion was in force."]
    return bool(row["passed"]), missed or [f"{row.get('failed_criterion')}"]
