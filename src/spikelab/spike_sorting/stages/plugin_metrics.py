"""Metrics of other packages: an artifact for each, between waveforms and curation."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.curation.outcome import PLUGIN_METRICS
from spikelab.spike_sorting.metrics import get_metric, list_metrics, measure
from spikelab.spike_sorting.metrics.registry import package_of
from spikelab.spike_sorting.stages.manifest import STAGES_FOLDER, Key, intact
from spikelab.spike_sorting.stages.recording import ensure_traces
from spikelab.system.json_files import finite_or_text, plain, read_object, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, Waveforms
    from spikelab.spike_sorting.settings.schema import WaveformConfig
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import StageResult
    from spikelab.spikedata import SpikeData

    # "about": description, unit, range, version and package; "values": by unit id.
    PluginMetric = dict[str, Any]

logger = logging.getLogger(__name__)

PREFIX = "metric_"  # of the stage's name
FILE = "metric.json"


def plugin_metric_stages(
    context: Context, units: SpikeData, recording: StageResult[BinaryRecording], waveforms: StageResult[Waveforms]
) -> dict[str, StageResult[PluginMetric]]:
    """Compute the metrics that are wanted, by the names of their stages; one that fails is left out, with a warning."""
    results: dict[str, StageResult[PluginMetric]] = {}
    for name in wanted_metrics(context.config.waveform):
        try:
            results[PREFIX + name] = _stage(context, name, units, recording, waveforms)
        except Exception as error:
            logger.warning("the metric %s is left out: %s", name, _words(error))
            logger.debug("the metric %s", name, exc_info=True)
    return results


def wanted_metrics(config: WaveformConfig) -> list[str]:
    """List the metrics of other packages to compute: those that the settings name, or all."""
    return list_metrics() if config.plugin_metrics is None else list(dict.fromkeys(config.plugin_metrics))


def _stage(
    context: Context,
    name: str,
    units: SpikeData,
    recording: StageResult[BinaryRecording],
    waveforms: StageResult[Waveforms],
) -> StageResult[PluginMetric]:
    metric = get_metric(name)

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        values = measure(name, metric, units, ensure_traces(context, recording) if metric.needs_traces else None)
        content = {
            "about": {**metric.about(), "package": package_of(name)},
            "values": dict(zip(map(str, units.unit_ids), values.tolist(), strict=True)),
        }
        (folder / FILE).write_text(readable(plain(content, number=finite_or_text), allow_nan=False), encoding="utf-8")
        return {}

    inputs = {"recording": recording.run_id, "waveforms": waveforms.run_id}
    key = Key(PREFIX + name, {"version": metric.version}, inputs, context.forced_by("reextract_waveforms"))
    return context.store.load_or_run(key, run=run, load=_read)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def stored_metrics(results: Path, stages: Iterable[str], waveforms_run_id: str) -> dict[str, PluginMetric]:
    """Read the metrics in a results folder that are among `stages` of its run, and belong to these waveforms."""
    found = {}
    for stage in stages:
        folder = results / STAGES_FOLDER / stage
        if stage.startswith(PREFIX) and folder.exists() and intact(folder).inputs.get("waveforms") == waveforms_run_id:
            found[stage] = _read(folder)
    return found


def with_plugin_metrics(units: SpikeData, metrics: Mapping[str, PluginMetric]) -> SpikeData:
    """Return `units` with the metrics of stages as neuron attributes, and their descriptions in the metadata."""
    if not metrics:
        return units
    metrics = {stage.removeprefix(PREFIX): metric for stage, metric in metrics.items()}
    return units.replace(
        neuron_attributes=[
            {**values, **{name: metric["values"][values["unit_id"]] for name, metric in metrics.items()}}
            for values in units.unit_attributes
        ],
        metadata={**units.metadata, PLUGIN_METRICS: {name: metric["about"] for name, metric in metrics.items()}},
    )


def _read(folder: Path) -> PluginMetric:
    content = read_object(folder / FILE)
    return {**content, "values": {int(unit): float(value) for unit, value in content["values"].items()}}
