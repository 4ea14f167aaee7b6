"""Check whether a sort can run here: a table of quick checks, and memory and room once sizes are known.

The quick checks are made before every sort and shown by ``spikelab doctor``. Each takes well under a second, and
returns findings and, where something is missing, the failure of a sort that needs it. There is no check of the input: a
file that cannot be read is found as soon, when it is opened next.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import (
    DiskExhaustionError,
    EnvironmentSortFailure,
    GPUOutOfMemoryError,
    GPUUnavailableError,
    HostOutOfMemoryError,
    SpikeSortingClassifiedError,
)
from spikelab.spike_sorting.backends.base import GPU_REQUIRED, GPU_UNUSED
from spikelab.spike_sorting.waveforms.quality import require_pandas
from spikelab.system.files import existing
from spikelab.system.gpus import Gpu, gpus
from spikelab.system.memory import format_memory, parse_memory, too_little
from spikelab.system.resources import available_memory

if TYPE_CHECKING:
    from spikelab.spike_sorting.backends.base import SorterBackend
    from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
    from spikelab.spike_sorting.stages.context import Context

OK, ABSENT, BROKEN = "ok", "-", "BROKEN"
GIB = 2**30
LEAST_GPU_BYTES = 512 * 2**20  # what CUDA itself and a few small arrays take
RESULTS_BYTES = 10 * 10**6  # log, spikes, templates and tables of a small recording
LITTLE_ROOM_BYTES = 10 * GIB  # a few minutes of a large array


@dataclass(frozen=True)
class Needs:
    """Needs of a sort; none by default."""

    backend: SorterBackend | None = None  # the sorter, which knows what it cannot run without
    folders: Mapping[Path, int] = field(default_factory=dict)  # bytes that will be written below each
    memory_bytes: int = 0  # without which not even one worker can run

    @property
    def gpu(self) -> str:
        """How the sorter uses a GPU."""
        return GPU_UNUSED if self.backend is None else self.backend.gpu_use()

    @property
    def device(self) -> str | None:
        """Device that the configuration of the sorter names."""
        return None if self.backend is None else self.backend.device()

    @property
    def sorter(self) -> str:
        """Short name of the sorter."""
        return "" if self.backend is None else self.backend.sorter_label


@dataclass(frozen=True)
class Finding:
    """Result of one check; `failure` is what a sort that needs it ends with, None where nothing is missing."""

    what: str
    state: str
    details: str
    failure: SpikeSortingClassifiedError | None = None


Check = Callable[[Needs], list[Finding]]


def require(needs: Needs, checks: Sequence[Check] | None = None) -> None:
    """Make `checks`, by default all; raise the failure of the first that found something missing."""
    for check in CHECKS if checks is None else checks:
        for finding in check(needs):
            if finding.failure is not None:
                raise finding.failure


def check_sorter(needs: Needs) -> list[Finding]:
    """Check packages, MATLAB, model, container and image of the sorter, as its backend knows them."""
    if needs.backend is None:
        return []
    try:
        needs.backend.check_installed()
    except EnvironmentSortFailure as error:
        return [Finding(needs.sorter, ABSENT, str(error).partition(". ")[0], error)]
    return [Finding(needs.sorter, OK, "")]


def check_gpu(needs: Needs) -> list[Finding]:
    """Find GPUs, and check that they have memory left."""
    seen = gpus()
    if seen.unknown:
        return [Finding("GPU", OK, "a driver, but no nvidia-smi that would list its GPUs")]
    if not seen.found:
        failure = None
        if needs.gpu == GPU_REQUIRED:
            failure = GPUUnavailableError(
                f"{needs.sorter} needs an NVIDIA GPU, and {seen.problem}. Check first whether nvidia-smi works in this "
                "shell and on this host; without a GPU rt_sort is a good choice.",
                sorter=needs.sorter,
                device=needs.device,
            )
        details = f"{seen.problem}; Kilosort 2 needs one, Kilosort 4 is slow without"
        return [Finding("GPU", ABSENT, details, failure)]
    return [_memory_of(gpu, number, needs) for number, gpu in enumerate(seen.found)]


def _memory_of(gpu: Gpu, number: int, needs: Needs) -> Finding:
    details = f"{gpu.name}, {gpu.free / GIB:.1f} of {gpu.total / GIB:.1f} GiB free"
    if gpu.free >= LEAST_GPU_BYTES:
        return Finding("GPU", OK, details)
    if needs.gpu == GPU_UNUSED or number != int((needs.device or "").partition(":")[2] or 0):
        return Finding("GPU", BROKEN, details)
    failure = GPUOutOfMemoryError(
        f"The memory of the GPU is taken: {details}. Check first with nvidia-smi which process has it, and wait for it "
        f"or end it; another GPU is chosen with CUDA_VISIBLE_DEVICES.",
        sorter=needs.sorter,
    )
    return Finding("GPU", BROKEN, details, failure)


def check_memory(needs: Needs) -> list[Finding]:
    """Check the memory of the host that is available."""
    import psutil

    available, total = available_memory(), psutil.virtual_memory().total
    details = f"{available / GIB:.1f} of {total / GIB:.1f} GiB available"
    if available >= needs.memory_bytes:
        return [Finding("memory", OK, details)]
    failure = HostOutOfMemoryError(
        f"There is too little memory: {details}, and at least {needs.memory_bytes / GIB:.1f} GiB are needed. Check "
        "first what other processes use, and which limit the job or container has.",
        sorter=needs.sorter or None,
    )
    return [Finding("memory", BROKEN, details, failure)]


def check_disk(needs: Needs) -> list[Finding]:
    """Check the room in the folders that will be written, by disk; without any, in this folder."""
    if not needs.folders:
        free = shutil.disk_usage(Path.cwd()).free
        state = OK if free > LITTLE_ROOM_BYTES else BROKEN
        return [Finding("disk", state, f"{free / GIB:.1f} GiB free in {Path.cwd()}")]
    disks: dict[int, list[Path]] = {}
    for folder in needs.folders:
        disks.setdefault(existing(folder).stat().st_dev, []).append(folder)
    return [_room_of(folders, sum(needs.folders[folder] for folder in folders)) for folders in disks.values()]


def _room_of(folders: list[Path], needed: int) -> Finding:
    free = shutil.disk_usage(existing(folders[0])).free
    names = " and ".join(map(str, folders))
    details = f"{free / 1e9:.2f} GB free for {names}"
    if free >= needed:
        return Finding("disk", OK, details)
    failure = DiskExhaustionError(
        f"There is too little room: {needed / 1e9:.2f} GB will be written below {names}, and {free / 1e9:.2f} GB are "
        "left. Check first df -h; free space, or put results_folders or intermediate_folders on another disk.",
        path=folders[0],
        required_bytes=needed,
        free_bytes=free,
    )
    return Finding("disk", BROKEN, details, failure)


def check_plugins(needs: Needs) -> list[Finding]:  # noqa: ARG001 - which file needs one shows when it is opened
    """Check the folder of HDF5's plugins, for vendor-compressed files."""
    path = os.environ.get("HDF5_PLUGIN_PATH")
    if path is None:
        return [Finding("HDF5 plugins", ABSENT, "HDF5_PLUGIN_PATH is not set; vendor-compressed files need it")]
    missing = [folder for folder in path.split(os.pathsep) if not Path(folder).is_dir()]
    if not missing:
        return [Finding("HDF5 plugins", OK, path)]
    return [Finding("HDF5 plugins", BROKEN, f"HDF5_PLUGIN_PATH names a folder that does not exist: {missing[0]}")]


CHECKS: tuple[Check, ...] = (check_sorter, check_plugins, check_gpu, check_memory, check_disk)


def require_machine(context: Context) -> None:
    """Check the machine if the sorter will run; the failure of what is missing is raised."""
    if context.sorts:
        folders = {context.results: RESULTS_BYTES, context.intermediate: 0}
        require(Needs(context.backend, folders, context.backend.libraries_bytes))
        if context.config.waveform.si_quality_metrics:
            require_pandas()


def least_memory(
    backend: SorterBackend,
    n_samples: int,
    n_channels: int,
    sampling_frequency: float,
    *,
    n_epochs: int = 1,
    spike_counts: tuple[int, ...] | None = None,
    sorted_channels: int | None = None,
) -> int:
    """Compute the smallest ``total_memory`` that a sort of a recording can keep, in bytes.

    Without `spike_counts`, the spikes of each unit, the sorter is still to run, and its units are taken for one spike.
    `sorted_channels` are those that the sorter gets at once, the largest group; by default all.
    """
    from spikelab.spike_sorting.recording.binary import least_bytes as recording_bytes
    from spikelab.spike_sorting.waveforms.engine import least_bytes as waveform_bytes

    works = [recording_bytes(n_samples, n_channels, sampling_frequency)]
    if spike_counts is None:
        works.append(backend.least_bytes(n_samples, sorted_channels or n_channels, sampling_frequency))
    counts = (1,) if spike_counts is None else spike_counts
    works.append(waveform_bytes(counts, n_channels, sampling_frequency, backend.config.waveform, n_epochs))
    return backend.libraries_bytes + max(works)


def require_memory(
    context: Context,
    n_samples: int,
    n_channels: int,
    sampling_frequency: float,
    n_epochs: int,
    largest_group: int = 0,
) -> None:
    """Check ``total_memory`` before anything is filtered.

    ValueError if it is less than the least that the recording takes; HostOutOfMemoryError if the machine has less.
    """
    least = least_memory(
        context.backend, n_samples, n_channels, sampling_frequency, n_epochs=n_epochs,
        spike_counts=None if context.sorts else (), sorted_channels=largest_group or None,
    )  # fmt: skip
    _require_memory(context, least, f"{n_channels} channels with {context.backend.sorter_label}", "")


def require_waveform_memory(context: Context, trains: SpikeTrains, binary: BinaryRecording) -> None:
    """Check ``total_memory`` once the units are known; the sorting is on disk by then, and is not done again."""
    counts = tuple(map(len, trains.samples))
    size = (binary.n_samples, binary.n_channels, binary.sampling_frequency)
    least = least_memory(context.backend, *size, n_epochs=len(binary.epochs), spike_counts=counts)
    what = f"the waveforms of {trains.n_units} units on {binary.n_channels} channels"
    _require_memory(context, least, what, "; what was sorted is kept, and the same call goes on from there")


def _require_memory(context: Context, least: int, what: str, kept: str) -> None:
    allowed = parse_memory(context.config.execution.total_memory)
    wanted = max(context.wanted_memory, allowed)
    if wanted < least:
        raise ValueError(too_little(wanted, least, what) + kept)
    if allowed < least:
        raise HostOutOfMemoryError(
            f"There is too little memory: {what} take at least {format_memory(least)}, and of what this machine has "
            f"available a sort uses {format_memory(allowed)}. Check first what other processes use, and which limit "
            f"the job or container has{kept}.",
            sorter=context.backend.sorter_label,
        )


def require_room(
    context: Context, n_samples: int, n_channels: int, *, with_traces: bool, largest_group: int = 0
) -> None:
    """Check that both folders have room for a sort, `with_traces` for the binary recording too.

    The channels of the `largest_group` of those that are sorted apart are copied for the sorter.
    """
    scratch = 2 * n_samples * n_channels if with_traces else 0
    if context.sorts:
        scratch += context.backend.scratch_bytes(n_samples, n_channels) + 2 * n_samples * largest_group
    require(Needs(folders={context.intermediate: scratch, context.results: RESULTS_BYTES}), (check_disk,))


def require_waveform_room(context: Context, trains: SpikeTrains, binary: BinaryRecording) -> None:
    """Check room for the files of single waveforms once the spikes are known; the sorting is on disk by then."""
    from spikelab.spike_sorting.waveforms.windows import Window

    config = context.config.waveform
    if not config.save_waveform_files:
        return
    window = Window.from_ms(config.ms_before, config.ms_after, binary.sampling_frequency)
    n_waveforms = sum(min(len(spikes), config.max_waveforms_per_unit) for spikes in trains.samples)
    n_bytes = 4 * n_waveforms * window.n_samples * binary.n_channels
    require(Needs(folders={context.waveforms_folder: n_bytes}), (check_disk,))
