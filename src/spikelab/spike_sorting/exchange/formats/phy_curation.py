"""Reading of a curation that was done in Phy: groups of clusters, merges and splits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import rows_of_each
from spikelab.spike_sorting.exchange.formats.phy import FORMAT, RECORD
from spikelab.spike_sorting.exchange.formats.phy_labels import GROUP, attribute_names, label_of, read_labels, typed
from spikelab.spikedata._epochs import starts_ms
from spikelab.spikedata._merge import coincident
from spikelab.spikedata.curation import build_curation_history
from spikelab.system.runlog import warn
from spikelab.system.texts import read_json_object

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from spikelab.spike_sorting.data import IntArray
    from spikelab.spikedata import SpikeData

UNSORTED = "unsorted"
# Attributes that the import gives.
OF_THE_IMPORT = ("phy_cluster", "phy_group", "merged_from", "split_from", "template_of")


@dataclass(frozen=True)
class PhyFolder:
    """Spikes of a folder that was exported to Phy, with their units before and their clusters after."""

    units: str  # choice of units that was exported: "curated", "all" or "phy"
    unit_ids: list[int]  # of the exported units
    frames: IntArray  # of the spikes, ascending
    before: IntArray  # exported unit of each spike, as an index into `unit_ids`
    after: IntArray  # cluster of each spike now
    groups: dict[int, str]  # of each cluster: "good", "mua", "noise" or "unsorted"
    labels: dict[str, dict[int, Any]]  # that a person gave, by column and cluster

    def clusters_of(self, unit_ids: Collection[int]) -> list[int]:
        """Return the clusters that exported units were, in the order of `unit_ids`."""
        return [self.unit_ids.index(unit_id) for unit_id in unit_ids]


@dataclass(frozen=True)
class NewUnit:
    """Cluster that is no exported unit: merged, split, or both."""

    unit_id: int
    cluster: int
    frames: IntArray
    sources: dict[int, int] = field(default_factory=dict)  # unit id -> spikes that came from it
    n_duplicates: int = 0

    def split(self, sizes: dict[int, int]) -> list[int]:
        """List the sources of which only a part is in this unit; `sizes` has the spikes of each exported unit."""
        return [source for source, count in self.sources.items() if count < sizes[source]]

    def record(self, sizes: dict[int, int]) -> dict[str, Any]:
        """Describe the unit for the history, JSON-able."""
        return {
            "unit_id": self.unit_id,
            "cluster": self.cluster,
            "spikes_from": {str(source): count for source, count in self.sources.items()},
            "merged": len(self.sources) > 1,
            "split": self.split(sizes),
            "duplicates_removed": self.n_duplicates,
        }


@dataclass(frozen=True)
class PhyOutcome:
    """Units that the kept clusters stand for."""

    unchanged: dict[int, int]  # clusters of the units that are kept as they were, by unit id
    new: list[NewUnit]
    labels: dict[int, dict[str, Any]]  # attributes that a person gave in Phy, by unit id; None for none
    history: dict[str, Any]  # as from ``build_curation_history``; ``phy`` has groups, merges, splits and labels


def read_phy(folder: Path) -> PhyFolder:
    """Read a folder that :func:`.write_phy` wrote and Phy may have changed."""
    if not (folder / RECORD).is_file():
        raise FileNotFoundError(
            f"{folder} has no {RECORD}: expected a folder that 'spikelab export RESULTS --to phy' wrote"
        )
    record = read_json_object(folder / RECORD, "the record of an export to Phy")
    if record.get("format") != FORMAT:
        raise ValueError(f"{folder / RECORD} says {record.get('format')!r}; expected {FORMAT!r}")
    if not (isinstance(record.get("units"), str) and isinstance(record.get("unit_ids"), list)):
        raise ValueError(f"{folder / RECORD} is damaged: 'units' or 'unit_ids' is missing; export the results again")  # noqa: TRY004 - a file's value
    names = ("spike_times", "spike_templates", "spike_clusters")
    frames, before, after = (_read_integers(folder / f"{name}.npy") for name in names)
    if not len(frames) == len(before) == len(after):
        raise ValueError(
            f"{folder}: spike_times, spike_templates and spike_clusters have {len(frames)}, {len(before)} and "
            f"{len(after)} entries; expected as many of each"
        )
    labels = _read_labels(folder, record.get("columns"))
    groups = {cluster: group.lower() for cluster, group in labels.pop(GROUP, {}).items()}
    values = {name: typed(column) for name, column in labels.items()}
    return PhyFolder(record["units"], record["unit_ids"], frames, before, after, groups, values)


def _read_labels(folder: Path, columns: Any) -> dict[str, dict[int, str]]:
    """Read the groups, and the columns that are not of the export."""
    if not any((folder / f"cluster_group.{ending}").is_file() for ending in ("tsv", "csv")):
        raise FileNotFoundError(f"{folder} has no cluster_group.tsv: nothing says which clusters are good")
    if isinstance(columns, list):
        return read_labels(folder, columns)
    warn(f"{folder} is of an earlier version, so that of the labels in it only the groups are read: export it again")
    return read_labels(folder, None)


def _read_integers(path: Path) -> IntArray:
    with path.open("rb") as file:  # numpy leaves a file open that begins like a zip and is none
        try:
            values = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is damaged ({error}): export the results again, and save in Phy again") from error
    if values.dtype.kind not in "iu":
        raise ValueError(f"{path} holds values of {values.dtype}; expected whole numbers")
    integers: IntArray = values.ravel().astype(np.int64)
    return integers


def require_same_spikes(phy: PhyFolder, sd: SpikeData) -> None:
    """Check that the folder was exported from units `sd`, which were not sorted again since."""
    units = {values["unit_id"]: values["spike_train_samples"] for values in sd.unit_attributes}
    for unit, rows in zip(phy.unit_ids, rows_of_each(phy.before, range(len(phy.unit_ids))), strict=True):
        if unit not in units or not np.array_equal(phy.frames[rows], units[unit]):
            raise ValueError(
                f"unit {unit} of the Phy folder is not that of the results: it was exported from other results, or "
                "these were sorted or curated again since; export them again"
            )


def phy_outcome(
    phy: PhyFolder, sd_all: SpikeData, sd: SpikeData, keep: Collection[str], duplicate_ms: float
) -> PhyOutcome:
    """Translate the clusters of the groups in `keep` into units; `sd_all` has all of the sort, `sd` the exported ones.

    Of two spikes within `duplicate_ms` that came from different units of a merge, one is kept: both had found one
    event. 0 keeps both.
    """
    sizes = np.bincount(phy.before, minlength=len(phy.unit_ids))
    next_id = max(sd_all.unit_ids, default=-1) + 1
    unchanged: dict[int, int] = {}
    new: list[NewUnit] = []
    clusters = np.unique(phy.after).tolist()
    for cluster, spikes in zip(clusters, rows_of_each(phy.after, clusters), strict=True):
        if phy.groups.get(cluster, UNSORTED) not in keep:
            continue
        sources, counts = np.unique(phy.before[spikes], return_counts=True)
        if len(sources) == 1 and counts[0] == sizes[sources[0]]:
            unchanged[phy.unit_ids[sources[0]]] = cluster
            continue
        kept = _without_duplicates(phy, spikes, sources[np.argsort(-counts, kind="stable")], duplicate_ms, sd.metadata)
        named = {phy.unit_ids[source]: int(count) for source, count in zip(sources, counts, strict=True)}
        new.append(NewUnit(next_id, cluster, phy.frames[kept], named, len(spikes) - len(kept)))
        next_id += 1
    history = _history(phy, sd, list(unchanged), new, {"keep": sorted(keep), "duplicate_ms": duplicate_ms})
    labels = _labels(phy, sd, unchanged, new)
    history["phy"]["labels"] = sorted({name for values in labels.values() for name in values})
    return PhyOutcome(unchanged, new, labels, history)


def _labels(phy: PhyFolder, sd: SpikeData, unchanged: dict[int, int], new: list[NewUnit]) -> dict[int, dict[str, Any]]:
    """Return the labels of the kept units, by the names of their attributes; None where a unit has none."""
    earlier = sd.metadata.get("curation_history", {}).get("phy", {}).get("labels", [])
    taken = {name for unit in sd.unit_attributes for name in unit}.union(OF_THE_IMPORT).difference(earlier)
    names = attribute_names(phy.labels, taken)
    sources = {unit.unit_id: sorted(unit.sources, key=lambda source: -unit.sources[source]) for unit in new}
    clusters = unchanged | {unit.unit_id: unit.cluster for unit in new}
    return {
        unit_id: {
            names[label]: label_of(label, values, cluster, phy.clusters_of(sources.get(unit_id, [unit_id])))
            for label, values in phy.labels.items()
        }
        for unit_id, cluster in clusters.items()
    }


def _without_duplicates(
    phy: PhyFolder, spikes: IntArray, sources: IntArray, duplicate_ms: float, metadata: Mapping[str, Any]
) -> IntArray:
    """Drop the spikes that a larger source has as well; `sources` are ordered by size."""
    fs, starts = float(metadata["fs_Hz"]), starts_ms(metadata)
    kept: IntArray = spikes[phy.before[spikes] == sources[0]]
    for source in sources[1:]:
        own = spikes[phy.before[spikes] == source]
        if duplicate_ms > 0:
            times, reference = (np.asarray(phy.frames[part] * 1000.0 / fs, np.float64) for part in (own, kept))
            own = own[~coincident(times, reference, duplicate_ms, starts)]
        kept = np.union1d(kept, own)
    return kept


def _history(
    phy: PhyFolder, sd: SpikeData, unchanged: list[int], new: list[NewUnit], parameters: dict[str, Any]
) -> dict[str, Any]:
    """Record a curation: the share of spikes kept of every exported unit, and the new units with their sources."""
    sizes = dict(zip(phy.unit_ids, np.bincount(phy.before, minlength=len(phy.unit_ids)).tolist(), strict=True))
    kept = Counter({unit: sizes[unit] for unit in unchanged})
    for unit in new:
        kept.update(unit.sources)
    fraction = np.array([kept[unit] / max(sizes[unit], 1) for unit in phy.unit_ids])
    exported = sd.subset(phy.unit_ids, by="unit_id", preserve_order=True)
    result: Any = {"phy": {"metric": fraction, "passed": fraction > 0}}
    history = build_curation_history(exported, exported, result, parameters={"exported_units": phy.units, **parameters})
    history["curated_final"] = [*unchanged, *(unit.unit_id for unit in new)]
    if "curation_history" in sd.metadata:  # of units that came from Phy before
        history["before"] = sd.metadata["curation_history"]
    history["phy"] = {
        "groups": {str(cluster): group for cluster, group in sorted(phy.groups.items())},
        "new_units": [unit.record(sizes) for unit in new],
    }
    return history


def origin(unit: NewUnit, sizes: dict[int, int]) -> dict[str, Any]:
    """Return the neuron attributes that name the sources of a new unit: ``merged_from``, ``split_from``."""
    origins = {"merged_from": list(unit.sources) if len(unit.sources) > 1 else [], "split_from": unit.split(sizes)}
    return {name: sources for name, sources in origins.items() if sources}
