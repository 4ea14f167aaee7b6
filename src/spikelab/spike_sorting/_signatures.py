"""What sorters, drivers and containers say when they fail, and what it means: a table, read from top to bottom.

Environment comes before resource and resource before biology, because the first two can strike any recording. Within a
category the more specific signature comes first. Where the same words have several causes, the message lists them with
the likeliest first and says what to check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from spikelab.spike_sorting._exceptions import (
    DiskExhaustionError,
    DockerEnvironmentError,
    EnvironmentSortFailure,
    GPUOutOfMemoryError,
    GPUUnavailableError,
    HDF5PluginMissingError,
    HostOutOfMemoryError,
    InsufficientActivityError,
    ModelLoadingError,
    NoGoodChannelsError,
    SorterNotInstalledError,
    SorterTimeoutError,
    SpikeSortingClassifiedError,
)

# With this many crossings or more a recording is not silent, whatever Kilosort2's kernels complain of.
ACTIVE_CROSSINGS = 20_000
FEW_UNITS, FEW_SPIKES = 5, 5.0

Evidence = Callable[[str], "dict[str, Any] | None"]


@dataclass(frozen=True)
class Signature:
    """One recognisable failure.

    Attributes
    ----------
    pattern : str
        Regular expression, without regard to case; ``.`` does not cross lines. Named groups become fields of the error
        (digits as int).
    error : type
        What is raised.
    message : str
        Likely causes in order, and what to check first.
    fields : mapping
        Further fields of the error.
    sorters : tuple of str
        Prefixes of the sorters it applies to; empty = any.
    unless : str or None
        A second expression that must not be found anywhere.
    evidence : callable or None
        Looks at the whole text: fields of the error, or None where the numbers say that it is something else.
    """

    pattern: str
    error: type[SpikeSortingClassifiedError]
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    sorters: tuple[str, ...] = ()
    unless: str | None = None
    evidence: Evidence | None = None


def _last_int(pattern: str, text: str) -> int | None:
    numbers = re.findall(pattern, text, flags=re.IGNORECASE)
    return int(numbers[-1]) if numbers else None


def _crossings(text: str) -> int | None:
    return _last_int(r"found (\d+) threshold crossings", text)


def kilosort2_few_spikes(text: str) -> dict[str, Any] | None:
    """Fields of `InsufficientActivityError` where Kilosort2's own numbers show a nearly silent recording, else None."""
    crossings = _crossings(text)
    progress = re.findall(r"\d+ */ *\d+ batches, *(\d+) units, *nspks: *([\d.]+)", text, flags=re.IGNORECASE)
    units, nspks = (int(progress[-1][0]), float(progress[-1][1].rstrip("."))) if progress else (None, None)
    silent = crossings is not None and crossings < ACTIVE_CROSSINGS
    dying = units is not None and nspks is not None and (units <= FEW_UNITS or nspks <= FEW_SPIKES)
    if not (silent or dying):
        return None
    return {"threshold_crossings": crossings, "units_at_failure": units, "nspks_at_failure": nspks}


def kilosort2_not_active(text: str) -> dict[str, Any] | None:
    """Fields of `InsufficientActivityError` unless the log counts enough crossings for an active recording."""
    crossings = _crossings(text)
    if crossings is not None and crossings >= ACTIVE_CROSSINGS:
        return None
    return {"threshold_crossings": crossings}


def kilosort2_all_bad(text: str) -> dict[str, Any] | None:
    """Fields of `NoGoodChannelsError` where Kilosort2 flagged every channel, else None.

    Without the number of channels in the log, no crossing at all has the same meaning: then each channel's rate is 0.
    """
    total = _last_int(r"Recording has (\d+) channels", text)
    bad = _last_int(r"found (\d+) bad channels", text)
    if re.search(r"found 0 good channels", text, flags=re.IGNORECASE):
        return {"total_channels": total, "bad_channels": bad if bad is not None else total}
    if bad is None or bad == 0:
        return None
    all_flagged = bad >= total if total is not None else _crossings(text) == 0
    if not all_flagged or (total is None and re.search("invalid configuration argument", text, re.IGNORECASE)):
        return None
    return {"total_channels": total, "bad_channels": bad}


_DOCKER = (
    Signature(
        r"No module named '?docker'?(?![\w.])|python `docker` package must be installed|Docker is not installed",
        DockerEnvironmentError,
        "Docker cannot be used: its command or its Python client is missing. Install Docker, then: pip install "
        "spikelab[docker]; check with 'docker version'.",
        {"reason": "client_missing"},
    ),
    Signature(
        r"fetching server API version.*(PermissionError|Permission denied|Access is denied)"
        r"|permission denied while trying to connect to the Docker daemon",
        DockerEnvironmentError,
        "The Docker daemon refuses this user. Add the user to the group 'docker' and log in again; check with "
        "'docker ps'.",
        {"reason": "permission_denied"},
    ),
    Signature(
        r"Error while fetching server API version|Cannot connect to the Docker daemon|Is the docker daemon running",
        DockerEnvironmentError,
        "The Docker daemon does not answer. Start it (systemctl start docker, or Docker Desktop); check with "
        "'docker ps', and DOCKER_HOST if it is set.",
        {"reason": "daemon_down"},
    ),
    Signature(
        r"docker\.errors\.ImageNotFound|pull access denied|toomanyrequests|registry-1\.docker\.io"
        r"|images/create|manifest (unknown|for .* not found)|failed to pull|No such image",
        DockerEnvironmentError,
        "The sorter's container image could not be pulled: no network, a pull limit, no login, or no such image. "
        "Check first: docker pull IMAGE by hand, where there is network.",
        {"reason": "image_pull_failed"},
    ),
    Signature(
        r"nvidia-container-cli|could not select device driver|OCI runtime create failed"
        r"|No module named 'spikeinterface'",
        DockerEnvironmentError,
        "The container does not start or is not complete: the NVIDIA container toolkit cannot see the driver, or the "
        "image lacks something. Check first: docker run --rm --gpus all IMAGE nvidia-smi.",
        {"reason": "other"},
    ),
    Signature(
        r"Unable to find a supported GPU device",
        DockerEnvironmentError,
        "MATLAB in the container finds no GPU that it supports: the container has no access to the GPU (NVIDIA "
        "container toolkit), or the GPU is newer than the image. Check first: docker run --rm --gpus all IMAGE "
        "nvidia-smi.",
        {"reason": "other"},
        unless=r"^ *matlab -nosplash",  # SpikeInterface's script for a MATLAB on the host
    ),
    Signature(
        r"docker\.errors\.(APIError|DockerException|ContainerError)",
        DockerEnvironmentError,
        "Docker failed in a way that is not known here; the original error has the details. Check first: docker run "
        "--rm hello-world.",
        {"reason": "other"},
    ),
)

_ENVIRONMENT = (
    *_DOCKER,
    Signature(
        r"read data.*can't open directory|can't find plugin|can't dlopen",
        HDF5PluginMissingError,
        "The recording is compressed with a filter that HDF5 has no plugin for. Set hdf5_plugin_path (or "
        "HDF5_PLUGIN_PATH) to the folder with the vendor's plugin (Maxwell: libcompression.so); check first that the "
        "folder exists and that the file in it is complete and of this platform.",
    ),
    Signature(
        r"Error\(s\) in loading state_dict|'(?P<model_path>[^'\n]+)[/\\](init_dict\.json|state_dict\.pt)'"
        r"|init_dict\.json|state_dict\.pt|PytorchStreamReader failed"
        r"|No module named '?torch'?(?![\w.])",
        ModelLoadingError,
        "RT-Sort's detection model could not be loaded: a wrong folder, damaged weights, or no PyTorch for the GPU. "
        "Check first that rt_sort_model_path holds init_dict.json and state_dict.pt; for a GPU: pip install "
        "spikelab[rt-sort], or rt_sort_device='cpu', which needs no PyTorch.",
        sorters=("rt_sort",),
    ),
    Signature(
        r"No module named '?(kilosort|torch)'?(?![\w.])",
        SorterNotInstalledError,
        "A package of the sorter is missing. Check first that this is the environment it was installed in; then: pip "
        "install spikelab[kilosort4], or run it in its container (use_docker=True).",
    ),
    Signature(
        r"matlab: (command )?not found|'matlab' is not recognized",
        SorterNotInstalledError,
        "MATLAB was not found. Check first that it is on PATH of this shell; then install it, or run the sorter in its "
        "container (use_docker=True).",
    ),
    Signature(
        r"License checkout failed|License Manager Error",
        EnvironmentSortFailure,
        "MATLAB got no licence. Check first whether MATLAB starts by hand as this user on this host.",
    ),
    Signature(
        r"Undefined function '?\w+'? for input arguments of type 'gpuArray'|Invalid MEX-file",
        SorterNotInstalledError,
        "Kilosort's CUDA code is not compiled, or for another MATLAB. Run mexGPUall in Kilosort's CUDA folder; check "
        "first that MATLAB's gpuDevice works.",
        sorters=("kilosort", "pykilosort"),
    ),
    Signature(
        r"Torch not compiled with CUDA enabled|No CUDA GPUs are available|Found no NVIDIA driver"
        r"|CUDA driver version is insufficient|no kernel image is available|invalid device function"
        r"|Unable to find (a )?supported GPU device|requires a NVIDIA GPU capability|invalid device ordinal"
        r"|Invalid device string: '?(?P<device>[\w:]+)",
        GPUUnavailableError,
        "No GPU can be used: no device or driver, a PyTorch without CUDA, or a GPU that this build does not support. "
        "Check first: nvidia-smi, then python -c 'import torch; print(torch.cuda.is_available())'.",
    ),
)

_RESOURCE = (
    Signature(
        r"CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY|Out of memory on device|CUDA error status: out of memory"
        r"|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED|torch\.(cuda\.)?OutOfMemoryError",
        GPUOutOfMemoryError,
        "The GPU ran out of memory. Check first (nvidia-smi) whether another process uses it; then use smaller batches "
        "(Kilosort2: NT, Kilosort4: batch_size, RT-Sort: chunk_values, or rt_sort_device='cpu'), sort less at once, or "
        "raise a very low detection threshold.",
    ),
    Signature(
        r"Unable to allocate .*[KMGTP]iB|Out of memory\. Type.*HELP MEMORY|java\.lang\.OutOfMemoryError"
        r"|DefaultCPUAllocator|Cannot allocate memory|std::bad_alloc|(?<![\w.])MemoryError"
        r"|exit (code|status) (-9|137)(?!\d)|exited with code 137(?!\d)|died with <Signals\.SIGKILL"
        r"|\boom[-_]kill|Out of memory: Killed process"
        r"|\.sh: line \d+: +\d+ Killed ",  # what bash says of a MATLAB that the kernel killed
        HostOutOfMemoryError,
        "The host ran out of memory (not the GPU), or the operating system or the cluster killed the sorter for it. "
        "Check first what the other processes of the host or job use; then smaller batches, fewer workers (n_jobs), or "
        "a job with more memory. A very low detection threshold also fills memory.",
    ),
    Signature(
        r"No space left on device|Disk quota exceeded|There is not enough space on the disk",
        DiskExhaustionError,
        "A disk is full. Free room where the intermediate folder is, or set intermediate_folders to another disk; "
        "check first df -h of both, and of /tmp.",
    ),
    Signature(
        r"DUE TO TIME LIMIT|CPU time limit exceeded|exit (code|status) (-24|152|-12|140)(?!\d)",
        SorterTimeoutError,
        "The batch system ended the sorter because its time was up. Check first the time limit of the job; then sort "
        "less at once: what is finished is loaded when the same call runs again.",
    ),
)

_LOOK_FIRST = (
    "Check first whether the traces show spikes by eye and are in microvolts: a wrong gain, data type or probe gives "
    "the same error. Otherwise the recording is (nearly) silent, too short, or its detection threshold too high."
)

_BIOLOGY = (
    Signature(
        r"found \d+ bad channels|found 0 good channels",
        NoGoodChannelsError,
        "Kilosort2 flagged every channel as bad. Check first that the traces show spikes by eye and have the right "
        "gain; then minfr_goodchannels (0 keeps all channels).",
        sorters=("kilosort", "pykilosort"),
        evidence=kilosort2_all_bad,
    ),
    Signature(
        r"invalid configuration argument",
        InsufficientActivityError,
        f"Kilosort2's kernels had (nearly) no spikes or templates to work on. {_LOOK_FIRST}",
        sorters=("kilosort", "pykilosort"),
        evidence=kilosort2_few_spikes,
    ),
    Signature(
        r"fewer than Nfilt spikes|Undefined function or variable '?W0'?"
        r"|Subscript indices must either be real positive integers or logicals.*\(?extractTemplatesfromSnippets",
        InsufficientActivityError,
        f"Kilosort found too few spikes in a batch to make templates from. {_LOOK_FIRST}",
        sorters=("kilosort", "pykilosort"),
        evidence=kilosort2_not_active,
    ),
    Signature(
        r"Found array with 0 sample\(s\).*TruncatedSVD|TruncatedSVD.*Found array with 0 sample\(s\)"
        r"|No spikes detected, cannot continue sorting",
        InsufficientActivityError,
        f"Kilosort4 detected no spikes at all. {_LOOK_FIRST} A low artifact_threshold also discards every batch.",
        sorters=("kilosort4",),
    ),
    Signature(
        r"n_samples=(?P<units_at_failure>\d+) should be >= n_clusters",
        InsufficientActivityError,
        f"Kilosort4 detected fewer spikes than it needs to learn its templates from. {_LOOK_FIRST}",
        sorters=("kilosort4",),
    ),
    Signature(
        r"Found array with 0 sample\(s\).*TruncatedSVD|all_peaks\.size / peaks\.size"
        r"|Prototype should have a negative peak|k must be less than or equal to the number of training points",
        InsufficientActivityError,
        f"The sorter detected no spikes. {_LOOK_FIRST}",
        sorters=("simple", "tridesclous2", "lupin", "spykingcircus2"),
    ),
    Signature(
        r"'NoneType' object has no attribute 'sort_offline'",
        InsufficientActivityError,
        f"RT-Sort found no propagation sequence. {_LOOK_FIRST}",
        sorters=("rt_sort",),
    ),
)

CATEGORIES: tuple[tuple[Signature, ...], ...] = (_ENVIRONMENT, _RESOURCE, _BIOLOGY)
SIGNATURES: tuple[Signature, ...] = tuple(signature for category in CATEGORIES for signature in category)
