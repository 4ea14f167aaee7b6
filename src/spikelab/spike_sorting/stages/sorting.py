"""Sorting: run the sorter on the binary recording and keep its spikes and its log."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting._types import BinaryRecording, SpikeTrains
from spikelab.spike_sorting.stages.recording import ensure_traces

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import Done

NAME = "sorting"
# RT-Sort settings that say where and how, not what.
NOT_KEYED = ("device", "num_processes", "delete_inter", "verbose", "save_rt_sort_pickle")


def sorting_stage(context: Context, recording: Done[BinaryRecording]) -> Done[SpikeTrains]:
    """Which unit fired when, as the sorter has it."""

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001
        binary = ensure_traces(context, recording)
        shutil.rmtree(context.sorter_folder, ignore_errors=True)
        context.sorter_folder.mkdir(parents=True)
        try:
            trains = _sort(context, binary)
        finally:
            for log in sorted(context.sorter_folder.rglob("*.log")):
                shutil.copyfile(log, folder / log.name)
        trains.save(folder / "spikes.npz")
        return {"n_units": trains.n_units, "n_spikes": sum(map(len, trains.samples))}

    return context.store.load_or_run(
        NAME,
        settings=_settings(context),
        inputs={"recording": recording.run_id},
        run=run,
        load=lambda folder: SpikeTrains.load(folder / "spikes.npz"),
        forced_by=context.forced_by("recompute_sorting"),
    )


def _settings(context: Context) -> dict[str, Any]:
    settings = context.settings("sorter")
    if context.config.sorter.sorter_name == "rt_sort":
        settings |= context.settings("rt_sort", leave_out=NOT_KEYED)
    return settings | {"random_seed": context.config.execution.random_seed}


def _sort(context: Context, binary: BinaryRecording) -> SpikeTrains:
    try:
        sorting = context.backend.sort(
            binary.to_spikeinterface(), context.recording_input, context.traces_path, context.sorter_folder
        )
    except SpikeSortingClassifiedError:
        raise
    except Exception as error:
        classified = context.backend.classify(context.sorter_folder, error)
        if classified is None:
            raise
        raise classified from error
    return SpikeTrains.from_spikeinterface(sorting)
