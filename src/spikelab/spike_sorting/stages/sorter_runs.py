"""Runs of the sorter: on all channels or on each group, with smaller batches where a resource runs out."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from spikelab.spike_sorting.stages.diagnosis import diagnose
from spikelab.spike_sorting.stages.scratch import empty_folder
from spikelab.spike_sorting.stages.store import now
from spikelab.system.progress import Progress, part_of_work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from spikelab.spike_sorting.backends.base import SorterBackend
    from spikelab.spike_sorting.data import Geometry, IntArray
    from spikelab.spike_sorting.stages.context import Context

logger = logging.getLogger(__name__)

MIN_BATCH = 2
NOT_HELPED_BY_LESS = (DiskExhaustionError, SorterTimeoutError)  # a full disk; a GPU or drive that hangs
PER_CHANNEL = ("flat_channels", "saturated_channels")


@dataclass
class SorterRuns:
    """Runs of the sorter on one recording.

    Attributes
    ----------
    context : Context
    report : mapping
        Of the recording stage.
    attempts : list of dict
        Gets each run, with its group, its parameters and its end.
    backend : SorterBackend
        With the batch that was small enough so far: what runs out on one group runs out on the next.
    retries_left : int
    """

    context: Context
    report: Mapping[str, Any]
    attempts: list[dict[str, Any]]
    backend: SorterBackend = field(init=False)
    retries_left: int = field(init=False)

    def __post_init__(self) -> None:
        self.backend = self.context.backend
        self.retries_left = self.context.config.execution.resource_retries

    def sort(self, binary: BinaryRecording, traces: Path | None = None) -> SpikeTrains:
        """Run the sorter on all channels, or on each group of channels that are sorted apart.

        The traces are those of the context, or in the file `traces`.
        """
        folder = self.context.sorter_folder
        empty_folder(folder.parent)  # its mark stays out of the sorter's reach
        if not in_groups(binary) or binary.geometry is None or not self.backend.sorts_groups_apart:
            path = self.context.traces_path if traces is None else traces
            return self._with_smaller_batches(binary, path, folder, self.report, None)
        folder.mkdir()
        return self._sort_groups(binary, binary.geometry)

    def _sort_groups(self, binary: BinaryRecording, geometry: Geometry) -> SpikeTrains:
        """Sort each group of channels on its own; a group without units is said, unless no group has any."""
        found: list[tuple[int, SpikeTrains]] = []
        silent: list[BiologicalSortFailure] = []
        progress = Progress("groups of channels", binary.n_channels, "channel")
        for group, channels in enumerate(geometry.channels_of_groups()):
            name = geometry.group_names[group]
            logger.info("sorting %s, group %d of %d: %d channels", name, group + 1, geometry.n_groups, len(channels))
            try:
                with part_of_work(name), progress.step("sorting", len(channels)):
                    trains = self._sort_group(binary, group, channels, name)
            except BiologicalSortFailure as error:
                logger.warning("%s has no units: %s", name, error)
                silent.append(error)
            else:
                logger.info("%s has %d units", name, trains.n_units)
                found.append((group, trains))
        if not found:
            raise silent[0]
        return SpikeTrains.of_groups(found)

    def _sort_group(self, binary: BinaryRecording, group: int, channels: IntArray, name: str) -> SpikeTrains:
        folder = self.context.sorter_folder / group_folder(group)
        path = folder.with_suffix(".dat")
        try:
            part = binary.take(channels, path)
            return self._with_smaller_batches(part, path, folder, report_of(self.report, binary, channels), name)
        finally:
            path.unlink(missing_ok=True)

    def _with_smaller_batches(
        self, binary: BinaryRecording, path: Path, folder: Path, report: Mapping[str, Any], group: str | None
    ) -> SpikeTrains:
        """Run the sorter; when a resource runs out, again with its batch halved: never the same command twice."""
        while True:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                with self._noted(group):
                    return self._sort_channels(binary, path, folder, report)
            except ResourceSortFailure as error:
                smaller = smaller_batch(self.backend)
                if smaller is None or self.retries_left == 0 or isinstance(error, NOT_HELPED_BY_LESS):
                    raise
                self.retries_left -= 1
                name, batch = smaller
                logger.warning("%s", error)
                logger.warning("trying again with %s = %d", name, batch)
                config = self.backend.config
                params = {**(config.sorter.sorter_params or {}), name: batch}
                self.backend = type(self.backend)(config.override(sorter_params=params))

    @contextmanager
    def _noted(self, group: str | None) -> Iterator[None]:
        """Add group, parameters, duration and end of a run to `attempts`."""
        params = self.backend.config.sorter.sorter_params
        attempt: dict[str, Any] = {"started": now(), "sorter_params": params, "error": None}
        if group is not None:
            attempt["group"] = group
        self.attempts.append(attempt)
        start = time.perf_counter()
        try:
            yield
        except BaseException as error:
            attempt["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            attempt["wall_s"] = round(time.perf_counter() - start, 3)

    def _sort_channels(
        self, binary: BinaryRecording, path: Path, folder: Path, report: Mapping[str, Any]
    ) -> SpikeTrains:
        backend = self.backend
        try:
            sorting = backend.sort(binary.to_spikeinterface(), self.context.recording_input, path, folder)
        except Exception as error:
            known = error if isinstance(error, SpikeSortingClassifiedError) else None
            known = known or backend.classify(folder, error)
            meaning = diagnose(known, backend.sorter_label, folder, error, report)
            if meaning is None or meaning is error:
                raise
            raise meaning from cause_of(meaning, error)
        return SpikeTrains.from_spikeinterface(sorting)


def smaller_batch(backend: SorterBackend) -> tuple[str, int] | None:
    """Return name and halved value of the sorter's batch setting; None without one, or where it cannot go lower."""
    name = backend.batch_parameter
    if name is None:
        return None
    batch = (backend.config.sorter.sorter_params or {}).get(name) or backend.batch_default
    return (name, int(batch) // 2) if batch and int(batch) >= MIN_BATCH else None


def in_groups(binary: BinaryRecording) -> bool:
    """Return whether groups of channels are sorted apart."""
    return binary.geometry is not None and binary.geometry.n_groups > 1


def largest_group(binary: BinaryRecording) -> int:
    """Return the number of channels of the largest group, whose traces are copied to be sorted; 0 without groups."""
    return int(np.bincount(binary.groups).max()) if in_groups(binary) else 0


def group_folder(group: int) -> str:
    """Name the folder of a group of channels in the sorter's folder."""
    return f"group{group}"


def folders_of_units(trains: SpikeTrains) -> list[str]:
    """Return the folders that a sort has within the sorter's folder: itself, or one for each group with units."""
    return [""] if trains.groups is None else [group_folder(group) for group in np.unique(trains.groups)]


def report_of(report: Mapping[str, Any], binary: BinaryRecording, channels: IntArray) -> Mapping[str, Any]:
    """Return the report of the recording stage for some of the channels; as it is where it has another form."""
    noise = report.get("noise_uv")
    if not isinstance(noise, list | tuple) or len(noise) != binary.n_channels:
        return report
    names = {binary.channel_ids[channel] for channel in channels.tolist()}
    dead = {name: [channel for channel in report.get(name, ()) if channel in names] for name in PER_CHANNEL}
    return {**report, "noise_uv": [noise[channel] for channel in channels.tolist()], **dead}
