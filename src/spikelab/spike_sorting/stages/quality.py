"""SpikeInterface's quality metrics: computed where they are wanted, between waveforms and compilation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from spikelab.spike_sorting.stages.context import Context, stage_seed
from spikelab.spike_sorting.stages.manifest import STAGES_FOLDER, Key, intact
from spikelab.spike_sorting.stages.recording import ensure_traces
from spikelab.system.json_files import finite_or_text, plain, read_object, readable

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording, Waveforms
    from spikelab.spike_sorting.stages.store import StageResult
    from spikelab.spikedata import SpikeData

NAME = "quality_metrics"
FILE = "quality_metrics.json"
PREFIX = "si_"

# Name of a metric -> unit id -> value.
QualityMetrics: TypeAlias = "dict[str, dict[int, float]]"


def quality_stage(
    context: Context, recording: StageResult[BinaryRecording], waveforms: StageResult[Waveforms]
) -> StageResult[QualityMetrics] | None:
    """Compute SpikeInterface's metrics of all units; None where the settings do not want them."""
    if not context.config.waveform.si_quality_metrics:
        return None

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        from spikelab.spike_sorting.waveforms.quality import compute_quality_metrics

        execution, waveform = context.config.execution, context.config.waveform
        metrics = compute_quality_metrics(
            ensure_traces(context, recording),
            waveforms.value,
            ms_before=waveform.ms_before,
            ms_after=waveform.ms_after,
            seed=stage_seed(execution.random_seed, NAME, recording.info["content"]),
            n_jobs=execution.n_jobs,
        )
        (folder / FILE).write_text(readable(plain(metrics, number=finite_or_text), allow_nan=False), encoding="utf-8")
        return {"metrics": list(metrics)}

    settings = {"random_seed": context.config.execution.random_seed}
    inputs = {"recording": recording.run_id, "waveforms": waveforms.run_id}
    key = Key(NAME, settings, inputs, context.forced_by("reextract_waveforms"))
    return context.store.load_or_run(key, run=run, load=_read)


def stored_quality(results: Path, waveforms_run_id: str) -> QualityMetrics | None:
    """Read the metrics of a results folder, if there are any of these waveforms."""
    folder = results / STAGES_FOLDER / NAME
    if not folder.exists() or intact(folder).inputs.get("waveforms") != waveforms_run_id:
        return None
    return _read(folder)


def with_quality(units: SpikeData, metrics: QualityMetrics | None) -> SpikeData:
    """Return `units` with the metrics as neuron attributes ``si_<name>``."""
    if metrics is None:
        return units
    return units.replace(
        neuron_attributes=[
            {**values, **{PREFIX + name: by_unit[values["unit_id"]] for name, by_unit in metrics.items()}}
            for values in units.unit_attributes
        ]
    )


def _read(folder: Path) -> QualityMetrics:
    content: dict[str, dict[str, float | str]] = read_object(folder / FILE)
    return {name: {int(unit): float(value) for unit, value in by_unit.items()} for name, by_unit in content.items()}
