"""Import of a curation that was done in another tool."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.exchange.export import TRACES, AnyPath, units_of, workers
from spikelab.spike_sorting.run.results import Results, TracesUnavailableError
from spikelab.spike_sorting.stages.context import stage_seed
from spikelab.spike_sorting.stages.manifest import Manifest
from spikelab.spike_sorting.stages.outdated import PHY_UNITS
from spikelab.spikedata import SpikeData
from spikelab.system import files
from spikelab.system.memory import for_work

if TYPE_CHECKING:
    from collections.abc import Collection

    from spikelab.spike_sorting.exchange.formats.phy_curation import NewUnit, PhyOutcome

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
PHY_HISTORY = "curation_phy.json"


def import_curation(
    results: AnyPath,
    folder: AnyPath,
    *,
    keep: Collection[str] = ("good",),
    duplicate_ms: float = 0.4,
    recording: AnyPath | None = None,
) -> SpikeData:
    """Bring back what was curated in Phy.

    Clusters that are units as they were exported stay as they are. Of merged and split ones the templates and metrics
    are measured anew on the traces (of the export, the intermediate folder, or filtered again); where those cannot be
    had, they are those of the unit that most of the spikes came from. New units get new ids.

    Parameters
    ----------
    results : path
        Results folder that the Phy folder was exported from.
    folder : path
        That folder, after "save" in Phy.
    keep : collection of str
        Groups of clusters that are kept.
    duplicate_ms : float
        Of two spikes this close that came from different units of a merge, one is kept. 0 keeps both.
    recording : path, optional
        As in :func:`export_results`.

    Returns
    -------
    SpikeData
        Also written to ``sorted_spikedata_phy.npz`` and ``.pkl`` in the results folder, and what was done to
        ``curation_phy.json``. On the clock of the whole recording, with its epochs: ``split_epochs`` takes it apart.
        Units have ``phy_cluster``, ``phy_group`` and the labels that a person gave in Phy or in tables
        ``cluster_<label>.tsv`` or ``.csv``; new ones have ``merged_from`` (a list of unit ids) or ``split_from``.
        ``metadata["curation_history"]`` is the history.

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file.
    ValueError
        If it was exported from other results, nothing in it is kept, or a table in it cannot be read.

    Warns
    -----
    UserWarning
        If units of a merge had different labels: the merged unit has that of the one with the most spikes.

    Examples
    --------
    >>> from spikelab.spike_sorting import export_results, import_curation
    >>> folder = export_results("sorted_rt_sort_culture", "phy", "culture_phy")
    >>> sd = import_curation("sorted_rt_sort_culture", folder)  # after "save" in Phy
    >>> sorted(sd.metadata["curation_history"]["phy"])
    ['groups', 'labels', 'new_units']
    """
    from spikelab.spike_sorting.exchange.formats.phy import UNITS
    from spikelab.spike_sorting.exchange.formats.phy_curation import phy_outcome, read_phy, require_same_spikes

    if isinstance(keep, str):
        keep = (keep,)
    opened, folder = Results.open(results), Path(folder).absolute()
    phy = read_phy(folder)
    own = folder / UNITS
    exported = SpikeData.load(own) if own.is_file() else units_of(opened, phy.units)
    require_same_spikes(phy, exported)
    outcome = phy_outcome(phy, opened.units, exported, keep, duplicate_ms)
    if not outcome.unchanged and not outcome.new:
        counts = Counter(phy.groups.get(cluster, "unsorted") for cluster in np.unique(phy.after).tolist())
        there_are = ", ".join(f"{count} {group}" for group, count in counts.most_common())
        raise ValueError(f"no cluster of {folder} is in the group {' or '.join(keep)}; there are {there_are}")
    measured = _measure(opened, outcome.new, folder, recording) if outcome.new else None
    curated = _assembled(exported, outcome, measured, phy.groups)
    for suffix in (".npz", ".pkl"):
        curated.save(opened.folder / f"{PHY_UNITS}{suffix}")
    files.write_text(opened.folder / PHY_HISTORY, json.dumps(outcome.history, indent=1))
    return curated


def _measure(results: Results, new: list[NewUnit], folder: Path, recording: AnyPath | None) -> SpikeData | None:
    """Measure templates and metrics of the new units; None where there are no traces to measure them on."""
    from spikelab.spike_sorting.compilation import build_spikedata
    from spikelab.spike_sorting.waveforms import compute_waveforms

    execution = results.config.execution
    exported = folder / TRACES
    with files.folder_beside(results.folder / "import") as scratch:
        path = results.traces or (exported if exported.is_file() else None)
        if path is None:
            path = scratch / TRACES
            try:
                results.write_traces(path, recording)
            except TracesUnavailableError as error:
                logger.warning("%s; merged and split units keep the templates of the units they came from", error)
                return None
        binary = replace(results.recording, path=path)
        waveforms = compute_waveforms(
            binary,
            SpikeTrains.from_dict({unit.unit_id: unit.frames for unit in new}),
            results.config.waveform,
            seed=_seed(results),
            n_jobs=workers(results),
            total_memory=max(1, for_work(execution.total_memory)),
        )
        del binary  # with its memory map, which would keep the file
        return build_spikedata(results.recording, waveforms, results.config, noted=results.record.get("metadata"))


def _seed(results: Results) -> int:
    """Return the seed of the sort's waveforms: noise comes from the same parts, so that SNRs can be compared."""
    manifest = Manifest.read(results.stage("recording"))
    content = "" if manifest is None else str(manifest.info["content"])
    return stage_seed(results.config.execution.random_seed, "waveforms", content)


def _assembled(
    exported: SpikeData, outcome: PhyOutcome, measured: SpikeData | None, groups: dict[int, str]
) -> SpikeData:
    """Put together the unchanged units, then the new ones."""
    from spikelab.spike_sorting.exchange.formats.phy_curation import origin

    kept = list(outcome.unchanged)
    old = exported.subset(kept, by="unit_id", preserve_order=True) if kept else exported.subset([])
    sizes = dict(zip(exported.unit_ids, exported.spike_counts.tolist(), strict=True))
    trains, attributes, clusters = [*old.train], [*old.unit_attributes], dict(outcome.unchanged)
    for unit in outcome.new:
        if measured is None:
            train, values = _of_parent(unit, exported)
        else:
            index = measured.unit_ids.index(unit.unit_id)
            train, values = measured.train[index], measured.unit_attributes[index]
        trains.append(train)
        attributes.append({**values, **origin(unit, sizes)})
        clusters[unit.unit_id] = unit.cluster
    named = []
    for values in attributes:
        cluster, labels = clusters[values["unit_id"]], outcome.labels[values["unit_id"]]
        merged = {**values, **labels, "phy_cluster": cluster, "phy_group": groups.get(cluster, "unsorted")}
        named.append({name: value for name, value in merged.items() if value is not None or name not in labels})
    metadata = {**exported.metadata, "curation_history": outcome.history}
    return exported.replace(train=trains, neuron_attributes=named, metadata=metadata)


def _of_parent(unit: NewUnit, exported: SpikeData) -> tuple[FloatArray, dict[str, Any]]:
    """Return the spikes of `unit` with the attributes of the unit that most of its spikes came from."""
    parent = max(unit.sources, key=lambda source: unit.sources[source])
    values = exported.unit_attributes[exported.unit_ids.index(parent)]
    train = (unit.frames * 1000.0 / float(exported.metadata["fs_Hz"])).astype(np.float64)
    own = {"unit_id": unit.unit_id, "spike_train_samples": unit.frames, "template_of": parent}
    return train, {**values, **own}
