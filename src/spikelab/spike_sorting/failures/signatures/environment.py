"""Signatures of a host or container that cannot sort: Docker, libraries, plugins, models, licences, GPUs."""

from __future__ import annotations

from spikelab.spike_sorting._exceptions import (
    DockerEnvironmentError,
    EnvironmentSortFailure,
    GPUUnavailableError,
    HDF5PluginMissingError,
    ModelLoadingError,
    SorterNotInstalledError,
)
from spikelab.spike_sorting.failures.signatures.signature import Signature
from spikelab.system.extras import install_command

_IN_A_CONTAINER = r"\b(docker|singularity|apptainer)\b|_compiled\b|in_container|matlabruntime"
_LIBRARY = (
    r"error while loading shared libraries|cannot open shared object file|\bundefined symbol\b|wrong ELF class"
    r"|version `?'?(GLIBC|GLIBCXX|CXXABI)_[\d.]+'? not found"
)
_NO_RUNTIME = r"MATLAB Runtime component cache|Could not (find|load) the MCR\b"

# Docker or its socket, but not a folder of that name.
_NAMED = r"(?:(?<![\w./\\-])docker(?![\w/\\-])|\bdocker\.sock\b)"

_DOCKER = (
    Signature(
        r"No module named '?docker'?(?![\w.])|docker` package must be installed|\bcannot import (name )?'?docker\b"
        r"|\bdocker(?:-py)?( is)? (not installed|missing)|\bdocker:? (command )?not found|'docker' is not recognized"
        r"|docker (python )?(client|package|module|library|SDK)"
        r"[^\n]{0,20} (missing|not (be )?(found|installed|available|imported))"
        r"|(install|missing|no) (the )?docker (python )?(client|package)"
        r"|pip install docker\b",
        DockerEnvironmentError,
        "Docker cannot be used: its command or its Python client is missing. Install Docker, then: "
        f"{install_command('docker')}; check with 'docker version'.",
        {"reason": "client_missing"},
    ),
    Signature(
        r"fetching server API version.*(PermissionError|Permission denied|Access is denied)"
        rf"|{_NAMED}.*\b(permission|access)( is| was)? denied|\b(permission|access)( is| was)? denied\b.*{_NAMED}"
        rf"|\bPermissionError\b.*{_NAMED}",
        DockerEnvironmentError,
        "The Docker daemon refuses this user. Add the user to the group 'docker' and log in again; check with "
        "'docker ps'.",
        {"reason": "permission_denied"},
        unless=r"pull access denied",
    ),
    Signature(
        r"Error while fetching server API version|(cannot|can't|could not|unable to|failed to) (connect to|reach|find) "
        r"(the )?docker\b|is the docker daemon running|docker (daemon|desktop|engine|service|server)[^\n]{0,30} "
        r"(not (be )?(running|reach\w+|respond\w*|available|started)|unreachable|down\b|stopped|refused|timed out)"
        r"|docker is not running|docker\.sock\b.*(No such file|refused)|refused\b.*docker\.sock\b"
        r"|dockerDesktopLinuxEngine.*cannot find",
        DockerEnvironmentError,
        "The Docker daemon does not answer. Start it (systemctl start docker, or Docker Desktop); check with "
        "'docker ps', and DOCKER_HOST if it is set.",
        {"reason": "daemon_down"},
    ),
    Signature(
        r"docker\.errors\.ImageNotFound|\bImageNotFound\b|pull access denied|toomanyrequests|registry-1\.docker\.io"
        r"|images/create|manifest (unknown|for .* not found)|fail(ed|ure) to pull|No such image"
        r"|\bimage\b[^\n]{0,60} (not found|could not be (pulled|found)|does not exist)"
        r"|(could not|cannot|can't|unable to|error) pull(ing)?\b.*\bimage\b|\bimage pull (failed|error)"
        r"|\bdocker pull\b[^\n]{0,40}\b(failed|error|denied|unauthorized)"
        r"|ImagePullBackOff",
        DockerEnvironmentError,
        "The sorter's container image could not be pulled: no network, a pull limit, no login, or no such image. "
        "Check first: docker pull IMAGE by hand, where there is network.",
        {"reason": "image_pull_failed"},
    ),
    Signature(
        r"nvidia-container-cli|could not select device driver|OCI runtime create failed|\bexec format error\b"
        r"|No module named 'spikeinterface'|unknown or invalid runtime name: nvidia|failed to create (shim )?task\b",
        DockerEnvironmentError,
        "The container does not start or is not complete: the NVIDIA container toolkit cannot see the driver, or the "
        "image lacks something. Check first: docker run --rm --gpus all IMAGE nvidia-smi.",
        {"reason": "other"},
    ),
    Signature(
        rf"{_LIBRARY}|{_NO_RUNTIME}",
        DockerEnvironmentError,
        "A library in the container is missing, damaged, or for another system (the driver's, MATLAB's runtime, the "
        "C library). Check first: docker pull IMAGE anew, with room on Docker's disk; then docker run --rm --gpus all "
        "IMAGE nvidia-smi.",
        {"reason": "other"},
        where=_IN_A_CONTAINER,
        unless=r"can't dlopen|can't open directory",
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

_LIBRARIES = (
    Signature(
        r"\blib(cuda|nvidia-ml|nvrtc)\.so[\d.]*: (cannot open shared object|file too short)|nvcuda\.dll",
        GPUUnavailableError,
        "The driver's library of the GPU was not found: no NVIDIA driver, or a container without access to it. Check "
        "first: nvidia-smi; in a container, docker run --rm --gpus all IMAGE nvidia-smi.",
    ),
    Signature(
        rf"\blibmw\w+\.so[\d.]*: cannot open shared object|{_NO_RUNTIME}"
        r"|MATLAB Runtime[^\n]{0,40} (not (be )?found|not installed|missing)",
        SorterNotInstalledError,
        "MATLAB's runtime, which a compiled sorter needs, is missing or cannot be written to. Check first that the "
        "image is SpikeInterface's compiled one and was pulled completely; then MCR_CACHE_ROOT.",
    ),
    Signature(
        rf"{_LIBRARY}|DLL load failed|may indicate binary incompatibility|cannot load library '",
        EnvironmentSortFailure,
        "A library that the sorter needs is missing, damaged, or for another system. Check first that the sorter's "
        "packages, or its image, were made for this system, and install them anew.",
        unless=r"can't dlopen|can't open directory",
    ),
)

_FILTER = (
    r"(?:(?:HDF5|h5py)[ \w-]{0,30}(?:filter|plugin|compression)|(?:filter|compression) (?:plugin|filter)"
    r"|(?:filter|plugin) for HDF5)\w*"
)
_LACKING = (
    r"\b(?:missing|lacks?|not (?:be )?(?:found|available|registered|installed|loaded)|unavailable|no such|install"
    r"|(?:cannot|can't|could not|unable to|fail(?:ed|s|ure) to) (?:find|load)|No module named)\b"
)
_NO_PLUGIN = (
    "The recording is compressed with a filter that HDF5 has no plugin for. Set hdf5_plugin_path (or "
    "HDF5_PLUGIN_PATH) to the folder with the vendor's plugin (Maxwell: libcompression.so); check first that the "
    "folder exists and that the file in it is complete and of this platform."
)
_MODEL_FILE = r"(?:init_dict\.json|state_dict\.pt)"
_PATH = r"(?:[A-Za-z]:)?[/\\~.][^'\"\n]*"
_NO_MODEL = (
    "RT-Sort's detection model could not be loaded: a wrong folder, damaged weights, or no PyTorch for the GPU. "
    "Check first that rt_sort_model_path holds init_dict.json and state_dict.pt; for a GPU: "
    f"{install_command('rt-sort')}, or rt_sort_device='cpu', which needs no PyTorch."
)

ENVIRONMENT = (
    *_DOCKER,
    Signature(
        r"(?:read data|\bh5py\b|Unable to synchronously open).*can't open directory|can't open directory.*\bplugin"
        r"|can't find plugin|can't dlopen|required filter .*not registered"
        rf"|{_FILTER}[^\n]{{0,60}}{_LACKING}|{_LACKING}[^\n]{{0,60}}{_FILTER}",
        HDF5PluginMissingError,
        _NO_PLUGIN,
    ),
    Signature(r"(?<!\w)HDF5_PLUGIN_PATH(?!\w)", HDF5PluginMissingError, _NO_PLUGIN, by_exception=True),
    *_LIBRARIES,
    Signature(
        rf"'(?P<model_path>[^'\n]+)[/\\]{_MODEL_FILE}'",
        ModelLoadingError,
        _NO_MODEL,
        sorters=("rt_sort",),
    ),
    Signature(
        r"(?:(?:folder|directory|path|model|in|at|under|from)(?:[:=] ?| )|^(?:[\w.]+: )?)['\"]?"
        rf"(?P<model_path>{_PATH}?)['\"]?,? (?:must|does|has"
        rf"|have|is|are|lacks?|without|contains?|needs?|should|with)\b[^\n]*{_MODEL_FILE}",
        ModelLoadingError,
        _NO_MODEL,
        sorters=("rt_sort",),
    ),
    Signature(
        rf"{_MODEL_FILE}\b[^\n]*? (?:in|at|under|from)(?: the)?(?: folder| directory)?:? "
        rf"['\"]?(?P<model_path>{_PATH}[^'\"\s.,;)])",
        ModelLoadingError,
        _NO_MODEL,
        sorters=("rt_sort",),
    ),
    Signature(
        r"Error\(s\) in loading state_dict|init_dict\.json|state_dict\.pt|PytorchStreamReader failed"
        r"|No module named '?torch'?(?![\w.])|\b(?:Py)?torch (?:is|was) (?:required|not (?:installed|found|available))"
        r"|requires (?:Py)?torch\b|\b(?:Py)?torch is missing",
        ModelLoadingError,
        _NO_MODEL,
        sorters=("rt_sort",),
    ),
    Signature(
        r"No module named '?(kilosort|torch)'?(?![\w.])",
        SorterNotInstalledError,
        "A package of the sorter is missing. Check first that this is the environment it was installed in; then: "
        f"{install_command('kilosort4')}, or run it in its container (use_docker=True).",
    ),
    Signature(
        r"matlab: (command )?not found|'matlab' is not recognized",
        SorterNotInstalledError,
        "MATLAB was not found. Check first that it is on PATH of this shell; then install it, or run the sorter in its "
        "container (use_docker=True).",
    ),
    Signature(
        r"License checkout failed|License Manager Error|(?:MATLAB )?licen[sc]e (?:has )?expired"
        r"|Unable to check ?out a licen[sc]e",
        EnvironmentSortFailure,
        "MATLAB got no licence. Check first whether MATLAB starts by hand as this user on this host.",
    ),
    Signature(
        r"Undefined function '?\w+'? for input arguments of type 'gpuArray'|Invalid MEX-file"
        r"|requires (?:the )?(?:Signal Processing|Parallel Computing|Statistics[\w ]*) Toolbox",
        SorterNotInstalledError,
        "Kilosort's CUDA code is not compiled, or for another MATLAB. Run mexGPUall in Kilosort's CUDA folder; check "
        "first that MATLAB's gpuDevice works.",
        sorters=("kilosort", "pykilosort"),
    ),
    Signature(
        r"Torch not compiled with CUDA enabled|No CUDA GPUs are available|Found no NVIDIA driver"
        r"|CUDA driver version is insufficient|no kernel image is available|invalid device function"
        r"|Unable to find (a )?supported GPU device|requires a NVIDIA GPU capability|invalid device ordinal"
        r"|no CUDA-capable device|CUDA_ERROR_NO_DEVICE|cudaErrorNoDevice|devices are busy or unavailable"
        r"|forward compatibility was attempted|Driver/library version mismatch|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"
        r"|CUDA unknown error|couldn't communicate with the NVIDIA driver"
        r"|(?:GPU|CUDA) driver[^\n]{0,40} (?:too old|out of date)"
        r"|problem with the CUDA driver|uncorrectable ECC error|GPU (?:is lost|has fallen off the bus)"
        r"|Invalid device string: '?(?P<device>[\w:]+)",
        GPUUnavailableError,
        "No GPU can be used: no device or driver, a PyTorch without CUDA, or a GPU that this build does not support. "
        "Check first: nvidia-smi, then python -c 'import torch; print(torch.cuda.is_available())'.",
    ),
)

# Tried where nothing else fits: a word that healthy messages of a container have too.
LAST_RESORT = (
    Signature(
        r"(?<![\w./=-])docker(?![\w./=-]*\w)",
        DockerEnvironmentError,
        "Docker failed in a way that is not known here; the original error has the details. Check first: docker run "
        "--rm hello-world, and that the image has all that the sorter needs.",
        {"reason": "other"},
        by_exception=True,
        unless=r"Spike sorting in docker",  # SpikeInterface's message of any failure in a container
    ),
)
