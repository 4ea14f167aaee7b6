"""Everything that the page shows of units as one text: JSON, a line for what they share and a line per unit."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.curation.criteria import in_force, metric_named, metrics
from spikelab.spike_sorting.curation.histograms import dead_periods
from spikelab.spike_sorting.curation.outcome import PLUGIN_METRICS, QUALITY_PREFIX
from spikelab.spike_sorting.data.spike_trains import MEASURES
from spikelab.spike_sorting.data.validation import ABOUT
from spikelab.spike_sorting.report.evidence import packing
from spikelab.spike_sorting.report.evidence.similar import WORDS
from spikelab.spike_sorting.report.evidence.unit import evidence_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikelab.spike_sorting.report.evidence.source import EvidenceSource
    from spikelab.spike_sorting.report.evidence.unit import UnitEvidence

TOLD_IN_WORDS = set(ABOUT) - {"expected_accuracy"}  # of a validation: a line of the panel says them
PLACES = ("amplitude", "x", "y")
MOST_PAIRS = 12  # that are listed on the first page
LEAST_ALIKE = 0.8  # similarity of two units of which it cannot be told, to be listed
LEVEL = 6  # of compression: 9 takes three times as long for a hundredth


def embedded(source: EvidenceSource) -> str:
    """Pack the evidence on all units as gzip in base64; the same bytes for the same results."""
    every = [evidence_of(source, unit) for unit in source.unit_ids]
    lines = [about_of(source) | {"pairs": doubtful_pairs(every)}, *(evidence.to_dict() for evidence in every)]
    text = "\n".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False, allow_nan=False) for line in lines)
    return b64encode(gzip.compress(text.encode(), LEVEL, mtime=0)).decode()


def doubtful_pairs(every: Sequence[UnitEvidence]) -> list[dict[str, Any]]:
    """List the pairs of kept units that look like one neuron, or of which it cannot be told; the likeliest first."""
    kept = {evidence.id for evidence in every if evidence.kept}
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for evidence in every:
        for other in evidence.similar:
            ids = min(evidence.id, other["id"]), max(evidence.id, other["id"])
            alike = other["verdict"] == WORDS["one"] or (
                other["verdict"] == WORDS["open"] and other["similarity"] >= LEAST_ALIKE
            )
            if alike and kept.issuperset(ids):
                found[ids] = {"ids": list(ids), "verdict": other["verdict"], "similarity": other["similarity"]}
    ordered = sorted(found.values(), key=lambda pair: (pair["verdict"] != WORDS["one"], -pair["similarity"]))
    return ordered[:MOST_PAIRS]


def about_of(source: EvidenceSource) -> dict[str, Any]:
    """Gather what is common to all units: electrodes, epochs, dead time, metrics, and traces to look at."""
    units, attributes = source.units, source.attributes
    return {
        "fs": source.fs,
        "n_samples": source.n_samples,
        "seconds": source.n_samples / source.fs,
        "locations": [packing.rounded(place, 6) for place in source.locations],
        "channel_ids": list(source.channel_ids),
        "noise": packing.rounded(source.measured.noise, 3) if source.measured is not None else None,
        "epochs": _epochs(units.metadata),
        "dead_s": [[start / 1000, end / 1000] for start, end in dead_periods(units)],
        "unit_ids": [int(unit) for unit in source.unit_ids],
        "kept": [bool(source.metrics[unit]["passed"]) for unit in source.unit_ids],
        "channels": [int(unit["channel"]) for unit in attributes],
        "amplitudes": packing.rounded([unit["amplitude"] for unit in attributes]),
        "n_spikes": [len(frames) for frames in source.frames],
        "metrics": _metrics(source),
        "traces": _traces(source),
    }


def _epochs(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    chunks = metadata.get("rec_chunks_ms") or []
    names = metadata.get("rec_chunk_names") or [""] * len(chunks)
    return [{"start_s": start / 1000, "name": str(name)} for (start, _), name in zip(chunks, names, strict=False)]


def _metrics(source: EvidenceSource) -> list[dict[str, Any]]:
    """List every metric that any unit has as a number, with all units' values and the thresholds in force."""
    attributes = source.attributes
    bounds = {criterion.metric.name: criterion.bounds(limit) for criterion, limit in in_force(source.curation)}
    rows = []
    for name in _metric_names(source):
        values = [_number(source.metrics[unit["unit_id"]].get(name, unit.get(name))) for unit in attributes]
        if any(value is not None for value in values):
            low, high = bounds.get(name, (None, None))
            label = metric_named(name).label(source.curation)
            rows.append({"name": name, "label": label, "values": values, "low": low, "high": high})
    return rows


def _metric_names(source: EvidenceSource) -> list[str]:
    """List the names of all metrics that units may have, each once."""
    known = [metric.name for metric in metrics(source.curation)]
    quality = sorted({name for unit in source.attributes for name in unit if name.startswith(QUALITY_PREFIX)})
    others = [name for name in source.units.metadata.get(PLUGIN_METRICS, ()) if name not in TOLD_IN_WORDS]
    return list(dict.fromkeys([*known, *PLACES, *quality, *others, *MEASURES]))


def _number(value: Any) -> float | str | None:
    """Round a metric for the page; infinity as a word, None where it is no number."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or np.isnan(float(value)):
        return None
    number = float(value)
    if np.isinf(number):
        return "inf" if number > 0 else "-inf"
    return float(f"{number:.6g}")


def _traces(source: EvidenceSource) -> dict[str, Any] | None:
    """Pack the traces to look at, and the spikes in them; None where there are none."""
    measured = source.measured
    if measured is None or not measured.traces.size:
        return None
    start, length = measured.traces_start, len(measured.traces)
    spikes = []
    for unit_id, frames in zip(source.unit_ids, source.frames, strict=True):
        first, last = np.searchsorted(frames, [start, start + length])
        if first < last:
            spikes.append([int(unit_id), (frames[first:last] - start).tolist()])
    return {
        "start": start,
        "channels": measured.traces_channels.tolist(),
        "uv": packing.signed_bytes(measured.traces.T * float(measured.traces_gain_uv)),
        "length": length,
        "spikes": spikes,
    }
