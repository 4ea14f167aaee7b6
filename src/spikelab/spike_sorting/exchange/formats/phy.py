"""Writer of a folder that Phy opens: ``phy template-gui params.py``.

Written as phylib's ``TemplateModel`` reads it. Spikes are frames of the (concatenated) recording, as Phy has no gaps;
``spikelab.json`` lists the epochs and their times on the clock of the source, dead time and
stimulation pulses in frames.
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.exchange.formats.phy_features import nearest_channels, write_features
from spikelab.spikedata._alike import cosine_over_lags
from spikelab.system.quoting import in_spreadsheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray
    from spikelab.spike_sorting.exchange.formats.handoff import Handoff

PARAMS = "params.py"
# Record of the units that the clusters stand for; Phy ignores it.
RECORD = "spikelab.json"
UNITS = "spikelab_units.npz"
FORMAT = "spikelab phy export"
# Phy shows these itself, or they mean nothing there.
NOT_SHOWN = ("unit_id", "channel", "template_peak_ind", "passed", "firing_rate")
GROUPS = {"noise": "noise", "multi-unit": "mua", "mua": "mua"}  # by label
# "group" is Phy's word for good, mua and noise.
PHY_NAMES = {"group": "channel_group"}
# The column becomes a file's name: one with a slash in it would lead elsewhere.
COLUMN_NAME = re.compile(r"\w[\w .-]*")
# Units whose main channels are further apart have similarity 0.
NEAR_UM = 150.0
SIMILAR_LAGS = 10


def write_phy(handoff: Handoff, folder: Path, *, units: str = "curated", traces: str | None = None) -> None:
    """Write units into an existing folder for Phy.

    Clusters count from 0 in the order of the units; the column ``unit_id`` in Phy names their units. Units that passed
    curation have the group "good". `units`, the user's choice, is recorded for the import. `traces` is the name of the
    binary file in `folder`; without traces there is no trace view, no feature view, and the amplitudes of all spikes of
    a unit are the same.
    """
    trains = handoff.trains
    counts = [len(train) for train in trains.samples]
    if sum(counts) < 2:
        raise ValueError(f"Phy opens no folder with {sum(counts)} spikes; there must be at least 2")
    times = np.concatenate(trains.samples)
    order = np.argsort(times, kind="stable")
    times, clusters = times[order], np.repeat(np.arange(len(counts)), counts)[order]
    arrays: dict[str, NDArray[Any]] = {
        "spike_times": times.astype(np.uint64),
        "spike_templates": clusters.astype(np.uint32),
        "spike_clusters": clusters.astype(np.int32),
        **_template_arrays(handoff),
        **_channel_arrays(handoff),
    }
    if traces is None:
        arrays["amplitudes"] = np.ones(len(times))
    else:
        amplitudes, channels = write_features(handoff, times, clusters, folder / "pc_features.npy")
        arrays["amplitudes"] = amplitudes
        arrays["pc_feature_ind"] = _padded(channels)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    columns = _write_tables(handoff, folder)
    if units == "phy":  # another import would replace them in the results
        handoff.units.save(folder / UNITS)
    record = _record(handoff, units, traces, columns)
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    (folder / PARAMS).write_text(_params(handoff, traces), encoding="utf-8")


def _record(handoff: Handoff, units: str, traces: str | None, columns: Sequence[str]) -> dict[str, Any]:
    """Note for the import what was written, in values of JSON."""
    recording = handoff.recording
    # Labels that came from Phy before are a person's: they are read again.
    labels = handoff.units.metadata.get("curation_history", {}).get("phy", {}).get("labels", [])
    record = {
        "format": FORMAT,
        "units": units,
        "unit_ids": handoff.trains.unit_ids.tolist(),
        "columns": [name for name in columns if name not in labels],
        "gain_to_uv": None if traces is None else recording.gain_uv,
        "epochs": [asdict(epoch) for epoch in recording.epochs],
    }
    record |= {"dead_time": recording.dead_time.tolist()} if len(recording.dead_time) else {}
    return record | ({"pulses": recording.pulses.to_dict()} if len(recording.pulses) else {})


def _template_arrays(handoff: Handoff) -> dict[str, NDArray[Any]]:
    templates = _symmetric(handoff)
    similar = np.eye(len(templates), dtype=np.float32)
    around = nearest_channels(handoff.recording.locations, handoff.main_channels)
    places = handoff.recording.locations[handoff.main_channels]
    for i in range(len(templates)):
        near = np.linalg.norm(places - places[i], axis=1) <= NEAR_UM
        for j in (i + 1 + np.flatnonzero(near[i + 1 :])).tolist():
            channels = np.union1d(around[i], around[j])
            pair = templates[i][:, channels], templates[j][:, channels]
            similar[i, j] = similar[j, i] = cosine_over_lags(*pair, SIMILAR_LAGS)
    return {"templates": _padded(templates), "similar_templates": _padded(_padded(np.nan_to_num(similar)).T).T}


def _symmetric(handoff: Handoff) -> FloatArray:
    """Cut the templates so that the spike is in the middle, where Phy expects it."""
    before, n_samples = handoff.n_before, handoff.templates.shape[1]
    half = min(before, n_samples - 1 - before)
    return handoff.templates[:, before - half : before + half + 1]


def _padded(array: NDArray[Any]) -> NDArray[Any]:
    """Add an empty entry to an array of one entry: phylib drops an axis of length 1."""
    return array if len(array) > 1 else np.concatenate([array, np.zeros_like(array)])


def _channel_arrays(handoff: Handoff) -> dict[str, NDArray[Any]]:
    n = handoff.recording.n_channels
    return {
        "channel_map": np.arange(n, dtype=np.int32),
        "channel_positions": handoff.recording.locations.astype(np.float64),
        "whitening_mat": np.eye(n),
        "whitening_mat_inv": np.eye(n),
    }


def _write_tables(handoff: Handoff, folder: Path) -> list[str]:
    """Write one ``cluster_<column>.tsv`` per column of Phy's cluster view; returns the columns."""
    columns: dict[str, Sequence[Any]] = {"group": groups_of(handoff), "unit_id": handoff.trains.unit_ids.tolist()}
    known = {PHY_NAMES.get(name, name): values for name, values in handoff.columns().items()}
    columns |= {name: values for name, values in known.items() if name not in NOT_SHOWN and COLUMN_NAME.fullmatch(name)}
    for name, values in columns.items():
        _write_table(folder / f"cluster_{name}.tsv", name, values)
    return list(columns)


def groups_of(handoff: Handoff) -> list[str]:
    """Return the group of each unit in Phy: good for those that are kept, else by the label that a person gave."""
    rows = [handoff.metrics.get(unit, {}) for unit in handoff.trains.unit_ids.tolist()]
    return ["good" if row.get("passed", True) else GROUPS.get(str(row.get("label")), "unsorted") for row in rows]


def _write_table(path: Path, name: str, values: Sequence[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["cluster_id", name])
        writer.writerows((i, _cell(value)) for i, value in enumerate(values) if value is not None)


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float | np.floating) else in_spreadsheet(value)


def _params(handoff: Handoff, traces: str | None) -> str:
    recording = handoff.recording
    values: Mapping[str, Any] = {
        "dat_path": [] if traces is None else traces,
        "n_channels_dat": recording.n_channels,
        "dtype": "int16",
        "offset": 0,
        "sample_rate": float(recording.sampling_frequency),
        "hp_filtered": True,
    }
    return "".join(f"{name} = {value!r}\n" for name, value in values.items())
