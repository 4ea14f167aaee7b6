"""Compilation: the files of the results folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.curation.outcome import PLUGIN_METRICS
from spikelab.spike_sorting.stages.checksums import recorded_files
from spikelab.spike_sorting.stages.curation import NO_METRICS
from spikelab.spike_sorting.stages.manifest import Key
from spikelab.spike_sorting.stages.outdated import record_files
from spikelab.system.json_files import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import StageResult
    from spikelab.spikedata import SpikeData

NAME = "compilation"
# Settings of the waveform group that shape the compiled files.
WAVEFORM_SETTINGS = ("compiled_ms_before", "compiled_ms_after", "scale_compiled_waveforms", "si_quality_metrics")
UNIT_METRICS = "unit_metrics.csv"


def compilation_stage(
    context: Context,
    recording: StageResult[BinaryRecording],
    units: SpikeData,
    curation: StageResult[CurationOutcome],
    waveforms_folder: Callable[[], Path | None],
    metrics: Mapping[str, str] = NO_METRICS,
) -> StageResult[list[Path]]:
    """Write the results; the artifact is the list of files, each of which is replaced atomically.

    `metrics` are the run ids of the artifacts, by name, whose metrics are attributes of `units` already: inputs, so
    that a change is noticed.
    """
    from spikelab.spike_sorting.compilation import compile_results

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        compilation = context.config.compilation
        wanted = compilation.compile_waveforms and compilation.compile_single_recording
        written = compile_results(
            curation.value.sd_curated,
            units,
            recording.value,
            context.config,
            context.results,
            waveforms_folder=waveforms_folder() if wanted else None,
        )
        curation.value.write_csv(context.results / UNIT_METRICS, units)
        written.append(context.results / UNIT_METRICS)
        record_files(folder, context.store.folder / NAME, written, context.results, context.results)
        return {"files": len(written)}

    settings = context.settings("compilation") | context.settings("waveform", only=WAVEFORM_SETTINGS)
    if context.metadata:
        settings["metadata"] = plain(context.metadata)
    if others := sorted(units.metadata.get(PLUGIN_METRICS, ())):
        settings["plugin_metrics"] = others  # those that there are: one may be gone
    inputs = {"curation": curation.run_id, **metrics}
    return context.store.load_or_run(
        Key(NAME, settings, inputs, context.forced_by("recompile_single_recording")),
        run=run,
        load=lambda folder: recorded_files(folder, context.results),
        writes_outside=True,
    )
