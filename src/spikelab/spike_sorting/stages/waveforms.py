"""Waveforms: templates, noise and metrics of every unit in one pass over the binary recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains, Waveforms
from spikelab.spike_sorting.stages.checks import require_waveform_memory, require_waveform_room
from spikelab.spike_sorting.stages.context import Context, stage_seed
from spikelab.spike_sorting.stages.manifest import Key
from spikelab.spike_sorting.stages.recording import ensure_traces
from spikelab.spike_sorting.stages.scratch import empty_folder, owner, set_owner

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.stages.store import StageResult

NAME = "waveforms"
# The compiled window is cut out later; streaming and files change where waveforms go, not what they are; metrics of
# SpikeInterface and of other packages are artifacts of their own.
NOT_KEYED = (
    "compiled_ms_before",
    "compiled_ms_after",
    "scale_compiled_waveforms",
    "streaming",
    "save_waveform_files",
    "si_quality_metrics",
    "plugin_metrics",
)


def waveforms_stage(
    context: Context, recording: StageResult[BinaryRecording], sorting: StageResult[SpikeTrains]
) -> StageResult[Waveforms]:
    """Templates and metrics; per-unit waveform files, where asked for, are heavy."""
    n_jobs = context.config.execution.n_jobs
    made: list[Waveforms] = []

    def run(folder: Path, run_id: str) -> dict[str, Any]:
        made.append(_extract(context, recording, sorting, run_id, folder))
        made[0].save(folder, n_jobs)
        return {"n_units": made[0].n_units}

    def load(folder: Path) -> Waveforms:
        """Read the artifact only if it was not made in this call: it may have gigabytes."""
        return made[0] if made else Waveforms.load(folder, n_jobs)

    settings = context.settings("waveform", leave_out=NOT_KEYED)
    settings["random_seed"] = context.config.execution.random_seed
    inputs = {"recording": recording.run_id, "sorting": sorting.run_id}
    key = Key(NAME, settings, inputs, context.forced_by("reextract_waveforms"))
    return context.store.load_or_run(key, run=run, load=load)


def ensure_waveform_files(
    context: Context,
    recording: StageResult[BinaryRecording],
    sorting: StageResult[SpikeTrains],
    waveforms: StageResult[Waveforms],
) -> Path | None:
    """Return the folder of the per-unit waveform files, written again where they are gone; None where not wanted."""
    if not context.config.waveform.save_waveform_files:
        return None
    folder = context.waveforms_folder
    names = [f"waveforms_{unit}.npy" for unit in waveforms.value.unit_ids]
    if owner(folder) != waveforms.run_id or not all((folder / name).is_file() for name in names):
        _extract(context, recording, sorting, waveforms.run_id, None)
    return folder


def _extract(
    context: Context,
    recording: StageResult[BinaryRecording],
    sorting: StageResult[SpikeTrains],
    run_id: str,
    folder: Path | None,
) -> Waveforms:
    from spikelab.spike_sorting.waveforms import waveforms_from_extractor

    binary = ensure_traces(context, recording)
    empty_folder(context.waveforms_folder)
    require_waveform_memory(context, sorting.value, binary)
    require_waveform_room(context, sorting.value, binary)
    execution = context.config.execution
    seed = stage_seed(execution.random_seed, NAME, recording.info["content"])
    extractor = context.backend.extract_waveforms(
        binary.to_spikeinterface(),
        sorting.value.to_spikeinterface(binary.sampling_frequency),
        context.waveforms_folder,
        folder if folder is not None else context.waveforms_folder / "curation",
        rec_path=context.recording_input,
        rng=seed,
    )
    set_owner(context.waveforms_folder, run_id, sorted(context.waveforms_folder.glob("waveforms_*.npy")))
    return waveforms_from_extractor(extractor, context.config.waveform, seed=seed, n_jobs=execution.n_jobs)
