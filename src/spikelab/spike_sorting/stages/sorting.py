"""Sorting: run the sorter on the binary recording, and keep its spikes and its log."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
from spikelab.spike_sorting.stages.checks import require_room
from spikelab.spike_sorting.stages.manifest import Key
from spikelab.spike_sorting.stages.recording import ensure_traces, recording_key
from spikelab.spike_sorting.stages.sorter_runs import SorterRuns, folders_of_units, in_groups, largest_group

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import StageResult

NAME = "sorting"
SPIKES = "spikes.npz"


def sorting_stage(
    context: Context, recording: StageResult[BinaryRecording], attempts: list[dict[str, Any]]
) -> StageResult[SpikeTrains]:
    """Find the spikes of each unit with the sorter; `attempts` gets each try, with its parameters and its end."""

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        binary = ensure_traces(context, recording)
        require_room(
            context, binary.n_samples, binary.n_channels, with_traces=False, largest_group=largest_group(binary)
        )
        try:
            trains = SorterRuns(context, recording.info.get("report", {}), attempts).sort(binary)
            trains = trains.outside(binary.dead_time)
        finally:
            for log in sorted(context.sorter_folder.rglob("*.log")):
                part = log.relative_to(context.sorter_folder).parts[0] if in_groups(binary) else ""
                shutil.copyfile(log, folder / "_".join(filter(None, [part, log.name])))
        trains.save(folder / SPIKES)
        _copy_kept_files(context, folder, trains)
        return {
            "n_units": trains.n_units,
            "n_spikes": sum(map(len, trains.samples)),
            "attempts": attempts,
            "made_by": context.backend.made_by(),
        }

    return context.store.load_or_run(
        sorting_key(context, recording.run_id), run=run, load=lambda folder: _load(context, folder), durable=True
    )


def sorting_key(context: Context, recording_run_id: str) -> Key:
    """Return what the artifact depends on."""
    settings = {
        **context.settings("sorter"),
        **context.backend.key(),
        "random_seed": context.config.execution.random_seed,
    }
    return Key(NAME, settings, {"recording": recording_run_id}, context.forced_by("recompute_sorting"))


def will_sort(context: Context) -> bool:
    """Whether the sorter will run, rather than its spikes, or a remembered failure, be loaded."""
    if context.forced_by("recompute_recording", "recompute_sorting") is not None:
        return True
    recording = context.store.find(recording_key(context))
    if recording is None or recording.failure is not None:
        return recording is None
    return context.store.find(sorting_key(context, recording.run_id)) is None


def _copy_kept_files(context: Context, folder: Path, trains: SpikeTrains) -> None:
    for part in folders_of_units(trains):
        for name in context.backend.kept:
            made, kept = context.sorter_folder / part / name, folder / part / name
            kept.parent.mkdir(exist_ok=True)
            if made.is_dir():
                shutil.copytree(made, kept)
            else:
                shutil.copyfile(made, kept)
        context.backend.clean_up(context.sorter_folder / part)


def _load(context: Context, folder: Path) -> SpikeTrains:
    """Read the artifact; an artifact without a file that the backend keeps is incomplete."""
    trains = SpikeTrains.load(folder / SPIKES)
    for part in folders_of_units(trains):
        for name in context.backend.kept:
            if not (folder / part / name).exists():
                raise FileNotFoundError(f"{name} of the sorter {context.backend.sorter_label}")
    return trains
