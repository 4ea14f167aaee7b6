"""Sorting: run the sorter on the binary recording, with smaller batches if need be, and keep its spikes and its log."""

from __future__ import annotations

import logging
import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import (
    BiologicalSortFailure,
    DiskExhaustionError,
    ResourceSortFailure,
    SorterTimeoutError,
    SpikeSortingClassifiedError,
)
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
from spikelab.spike_sorting.failures.classifier import cause_of
from spikelab.spike_sorting.stages.checks import require_room
from spikelab.spike_sorting.stages.diagnosis import diagnose
from spikelab.spike_sorting.stages.manifest import Key
from spikelab.spike_sorting.stages.recording import ensure_traces, recording_key
from spikelab.spike_sorting.stages.scratch import empty_folder
from spikelab.spike_sorting.stages.store import now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from spikelab.spike_sorting.backends.base import SorterBackend
    from spikelab.spike_sorting.data import Geometry
    from spikelab.spike_sorting.stages.context import Context
    from spikelab.spike_sorting.stages.store import StageResult

logger = logging.getLogger(__name__)

NAME = "sorting"
SPIKES = "spikes.npz"
MIN_BATCH = 2
NOT_HELPED_BY_LESS = (DiskExhaustionError, SorterTimeoutError)  # a full disk; a GPU or drive that hangs


def sorting_stage(
    context: Context, recording: StageResult[BinaryRecording], attempts: list[dict[str, Any]]
) -> StageResult[SpikeTrains]:
    """Find the spikes of each unit with the sorter; `attempts` gets each try, with its parameters and its end."""

    def run(folder: Path, run_id: str) -> dict[str, Any]:  # noqa: ARG001 - the harness's signature
        binary = ensure_traces(context, recording)
        require_room(context, binary.n_samples, binary.n_channels, with_traces=False)
        try:
            trains = _with_smaller_batches(context, binary, attempts, recording.info.get("report", {}))
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
    for part in _parts(trains):
        for name in context.backend.kept:
            made, kept = context.sorter_folder / part / name, folder / part / name
            kept.parent.mkdir(exist_ok=True)
            if made.is_dir():
                shutil.copytree(made, kept)
            else:
                shutil.copyfile(made, kept)
        context.backend.clean_up(context.sorter_folder / part)


def _parts(trains: SpikeTrains) -> list[str]:
    """Return the folders that a sort has within the sorter's folder: itself, or one for each group with units."""
    return [""] if trains.groups is None else [group_folder(group) for group in np.unique(trains.groups)]


def _load(context: Context, folder: Path) -> SpikeTrains:
    """Read the artifact; an artifact without a file that the backend keeps is incomplete."""
    trains = SpikeTrains.load(folder / SPIKES)
    for part in _parts(trains):
        for name in context.backend.kept:
            if not (folder / part / name).exists():
                raise FileNotFoundError(f"{name} of the sorter {context.backend.sorter_label}")
    return trains


def _with_smaller_batches(
    context: Context, binary: BinaryRecording, attempts: list[dict[str, Any]], report: Mapping[str, Any]
) -> SpikeTrains:
    """Run the sorter; when a resource runs out, again with its batch halved: never the same command twice."""
    backend = context.backend
    retries_left = context.config.execution.resource_retries
    while True:
        try:
            return _attempt(context, backend, binary, attempts, report)
        except ResourceSortFailure as error:
            smaller = smaller_batch(backend)
            if smaller is None or retries_left == 0 or isinstance(error, NOT_HELPED_BY_LESS):
                raise
            retries_left -= 1
            name, batch = smaller
            logger.warning("%s", error)
            logger.warning("trying again with %s = %d", name, batch)
            params = {**(backend.config.sorter.sorter_params or {}), name: batch}
            backend = type(backend)(backend.config.override(sorter_params=params))


def _attempt(
    context: Context,
    backend: SorterBackend,
    binary: BinaryRecording,
    attempts: list[dict[str, Any]],
    report: Mapping[str, Any],
) -> SpikeTrains:
    """Run the sorter once; add parameters, duration and end to `attempts`."""
    attempt: dict[str, Any] = {"started": now(), "sorter_params": backend.config.sorter.sorter_params, "error": None}
    attempts.append(attempt)
    start = time.perf_counter()
    try:
        return _sort(context, backend, binary, report)
    except BaseException as error:
        attempt["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        attempt["wall_s"] = round(time.perf_counter() - start, 3)


def smaller_batch(backend: SorterBackend) -> tuple[str, int] | None:
    """Return name and halved value of the sorter's batch setting; None without one, or where it cannot go lower."""
    name = backend.batch_parameter
    if name is None:
        return None
    batch = (backend.config.sorter.sorter_params or {}).get(name) or backend.batch_default
    return (name, int(batch) // 2) if batch and int(batch) >= MIN_BATCH else None


def _sort(context: Context, backend: SorterBackend, binary: BinaryRecording, report: Mapping[str, Any]) -> SpikeTrains:
    """Run the sorter on all channels, or on each group of channels that are sorted apart."""
    empty_folder(context.sorter_folder.parent)  # its mark stays out of the sorter's reach
    context.sorter_folder.mkdir()
    if not in_groups(binary) or binary.geometry is None:
        return _sort_channels(context, backend, binary, context.traces_path, context.sorter_folder, report)
    return _sort_groups(context, backend, binary, binary.geometry, report)


def _sort_groups(
    context: Context,
    backend: SorterBackend,
    binary: BinaryRecording,
    geometry: Geometry,
    report: Mapping[str, Any],
) -> SpikeTrains:
    """Sort each group of channels on its own; a group without units is said, unless no group has any."""
    found: list[tuple[int, SpikeTrains]] = []
    silent: list[BiologicalSortFailure] = []
    for group, channels in enumerate(geometry.channels_of_groups()):
        name, folder = geometry.group_names[group], context.sorter_folder / group_folder(group)
        folder.mkdir()
        logger.info("sorting %s: %d channels", name, len(channels))
        path = folder / context.traces_path.name
        part = binary.take(channels, path)
        try:
            found.append((group, _sort_channels(context, backend, part, path, folder, report)))
        except BiologicalSortFailure as error:
            logger.warning("%s: %s", name, error)
            silent.append(error)
        finally:
            path.unlink(missing_ok=True)
    if not found:
        raise silent[0]
    return SpikeTrains.of_groups(found)


def in_groups(binary: BinaryRecording) -> bool:
    """Return whether groups of channels are sorted apart."""
    return binary.geometry is not None and binary.geometry.n_groups > 1


def group_folder(group: int) -> str:
    """Name the folder of a group of channels in the sorter's folder."""
    return f"group{group}"


def _sort_channels(
    context: Context,
    backend: SorterBackend,
    binary: BinaryRecording,
    traces_path: Path,
    folder: Path,
    report: Mapping[str, Any],
) -> SpikeTrains:
    try:
        sorting = backend.sort(binary.to_spikeinterface(), context.recording_input, traces_path, folder)
    except Exception as error:
        known = error if isinstance(error, SpikeSortingClassifiedError) else None
        known = known or backend.classify(folder, error)
        meaning = diagnose(known, backend.sorter_label, folder, error, report)
        if meaning is None or meaning is error:
            raise
        raise meaning from cause_of(meaning, error)
    return SpikeTrains.from_spikeinterface(sorting)
