"""The sort done again: with other seeds, or by other sorters; how far each unit is found by all is the artifact."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.backends.rt_sort_preset import with_fitting_preset
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.data.matching import overlap_of
from spikelab.spike_sorting.stages.context import stage_seed
from spikelab.spike_sorting.stages.manifest import STAGES_FOLDER, Key, intact
from spikelab.spike_sorting.stages.recording import ensure_traces
from spikelab.spike_sorting.stages.sorter_runs import SorterRuns
from spikelab.spike_sorting.stages.validation import apart, clear, measured, settings_of_sorter, tell_how_long
from spikelab.system.json_files import finite_or_text, plain, read_object, readable
from spikelab.system.progress import part_of_work

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, Waveforms
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.plugin_metrics import PluginMetric
    from spikelab.spike_sorting.stages.store import StageResult

    Agreements = dict[str, dict[int, float]]

logger = logging.getLogger(__name__)

NAME, FOLDER = "again", "again"
SORT = "again_sort"  # with a number, the name of a sort
METRIC, FILE, SPIKES = "agreement", "agreement.json", "spikes.npz"
WINDOW_MS = 0.4
ABOUT = (
    "Mean agreement with the best unit of each further sort of the recording, with another seed or by another sorter: "
    "spikes in common, over all spikes of either."
)


def again_stage(
    context: Context, recording: StageResult[BinaryRecording], waveforms: StageResult[Waveforms]
) -> StageResult[Agreements] | None:
    """Sort again as often as the settings say, and tell how far each unit is found again; None for no times."""
    wanted = sorts_of(context, recording.value)
    if not wanted:
        return None
    others = [_apart(context, changes) for changes in wanted]
    own = [number for number, changes in enumerate(wanted) if "random_seed" in changes]
    tell_how_long(context, [_key(others[number], number, recording) for number in own], waveforms)
    names = [_name(changes) for changes in wanted]
    sorts = [
        _sort_stage(context, other, number, name, recording)
        for number, (other, name) in enumerate(zip(others, names, strict=True))
    ]

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        fs = recording.value.sampling_frequency
        found = agreements(waveforms.value, dict(zip(names, (each.value for each in sorts), strict=True)), fs)
        text = readable(plain(found, number=finite_or_text), allow_nan=False)
        (folder / FILE).write_text(text, encoding="utf-8")
        return {"sorts": names}

    inputs = {f"{SORT}{number}": each.run_id for number, each in enumerate(sorts)}
    return context.store.load_or_run(
        Key(NAME, {"sorts": names}, {"waveforms": waveforms.run_id, **inputs}), run=run, load=_read
    )


def sorts_of(context: Context, binary: BinaryRecording) -> list[dict[str, Any]]:
    """List the settings by which each further sort differs: another seed, where the sorter is that of the sort."""
    config = context.config
    again, seed = config.validation.sort_again, config.execution.random_seed
    if isinstance(again, int):
        return [_seed(seed, number) for number in range(1, again + 1)]
    own = config.sorter.sorter_name
    return [_seed(seed, 1) if name == own else _defaults(context, name, binary) for name in again]


def _seed(seed: int, number: int) -> dict[str, Any]:
    return {"random_seed": (seed + number) % 2**32}


def _defaults(context: Context, name: str, binary: BinaryRecording) -> dict[str, Any]:
    """Return the settings of another sorter: its defaults, of RT-Sort those for the electrodes."""
    changes: dict[str, Any] = {"sorter_name": name, "sorter_params": None}
    other, words = with_fitting_preset(context.config.override(**changes), binary.geometry, binary.sampling_frequency)
    if words:
        logger.info("%s starts from %s", name, words)
        changes |= {"rt_sort_probe": other.rt_sort.probe, "rt_sort_params": other.rt_sort.params}
    return changes


def _name(changes: Mapping[str, Any]) -> str:
    return str(changes["sorter_name"]) if "sorter_name" in changes else f"seed {changes['random_seed']}"


def _apart(context: Context, changes: Mapping[str, Any]) -> Context:
    """Return the context of a further sort; ValueError where it would find the same units."""
    other = apart(context, FOLDER, **changes)
    if not other.backend.finds_anew():
        raise ValueError(
            f"{other.backend.sorter_label} takes its units from a file or a folder here: sorted again they are the same"
        )
    return other


def _key(other: Context, number: int, recording: StageResult[BinaryRecording]) -> Key:
    return Key(f"{SORT}{number}", settings_of_sorter(other), {"recording": recording.run_id})


def _sort_stage(
    context: Context, other: Context, number: int, name: str, recording: StageResult[BinaryRecording]
) -> StageResult[SpikeTrains]:
    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        binary = ensure_traces(context, recording)
        logger.info("the recording is sorted again: %s", name)
        try:
            with part_of_work(name):
                trains = _sorted(other, binary, context.traces_path, recording)
                seed = stage_seed(context.config.execution.random_seed, SORT, recording.info["content"])
                found = measured(other, binary, trains, seed)  # aligned, as the spikes that it is compared with
                trains = SpikeTrains(found.unit_ids, found.spikes)
        finally:
            clear(other.intermediate)
        trains.save(folder / SPIKES)
        return {"n_units": trains.n_units}

    key = _key(other, number, recording)
    return context.store.load_or_run(key, run=run, load=lambda folder: SpikeTrains.load(folder / SPIKES))


def _sorted(
    context: Context, binary: BinaryRecording, traces: Path, recording: StageResult[BinaryRecording]
) -> SpikeTrains:
    """Sort the traces where they are, with the scratch of the sorter apart."""
    runs = SorterRuns(context, recording.info.get("report", {}), [])
    return runs.sort(binary, traces).outside(binary.dead_time).inside(binary.n_samples)


def agreements(waveforms: Waveforms, sorts: Mapping[str, SpikeTrains], sampling_frequency: float) -> Agreements:
    """Return the agreement of each unit with its best partner in each sort, and their mean as ``agreement``."""
    per_ms = sampling_frequency / 1000.0
    own = [train / per_ms for train in waveforms.spikes]
    found = {}
    for name, trains in sorts.items():
        overlap = overlap_of(own, [train / per_ms for train in trains.samples], WINDOW_MS)
        found[name] = overlap.agreement.max(axis=1, initial=0.0)
    found[METRIC] = np.mean(list(found.values()), axis=0)
    ids = waveforms.unit_ids.tolist()
    return {name: dict(zip(ids, values.tolist(), strict=True)) for name, values in found.items()}


def stored_agreement(results: Path, stages: Iterable[str], waveforms_run_id: str) -> Agreements | None:
    """Read the agreements in a results folder, if its run has some of these waveforms."""
    folder = results / STAGES_FOLDER / NAME
    if NAME not in stages or not folder.exists() or intact(folder).inputs.get("waveforms") != waveforms_run_id:
        return None
    return _read(folder)


def agreement_metric(found: Agreements | None) -> dict[str, PluginMetric]:
    """Return the agreement in the form of the metrics of other packages."""
    if found is None:
        return {}
    about = {"description": ABOUT, "unit": "", "low": 0.0, "high": 1.0, "version": "1", "package": "spikelab"}
    return {METRIC: {"about": about, "values": found[METRIC]}}


def _read(folder: Path) -> Agreements:
    content: dict[str, dict[str, float | str]] = read_object(folder / FILE)
    return {name: {int(unit): float(value) for unit, value in by_unit.items()} for name, by_unit in content.items()}
