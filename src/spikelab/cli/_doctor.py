"""``spikelab doctor``: what works on this machine, and what to do about what does not."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from spikelab import __version__
from spikelab.cli._table import table
from spikelab.spike_sorting._resources import available_cores

if TYPE_CHECKING:
    from collections.abc import Callable

Check = tuple[str, str, str]  # name, state, details or what to do
OK, ABSENT, BROKEN = "ok", "-", "BROKEN"
TIMEOUT_S = 10


def report() -> str:
    """All checks as a table."""
    rows = [row for check in CHECKS for row in check()]
    return f"spikelab {__version__}\n\n" + table(("what", "state", "details"), rows)


def _host() -> list[Check]:
    import psutil

    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(Path.cwd())
    return [
        ("python", OK, f"{platform.python_version()} on {platform.platform()}"),
        ("processor", OK, f"{available_cores()} cores"),
        ("memory", OK, f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB available"),
        ("disk", OK if disk.free > 10 * 2**30 else BROKEN, f"{disk.free / 2**30:.1f} GiB free in {Path.cwd()}"),
    ]


def _packages() -> list[Check]:
    from importlib.metadata import version

    return [(name, OK, version(name)) for name in ("spikeinterface", "numpy", "numba", "h5py")]


def _gpu() -> list[Check]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return [("GPU", ABSENT, "no NVIDIA driver; Kilosort 2 needs one, Kilosort 4 is slow without")]
    state, text = _run([command, "--query-gpu=name,memory.free,memory.total", "--format=csv,noheader"])
    return [("GPU", state, text)]


def _torch() -> list[Check]:
    if importlib.util.find_spec("torch") is None:
        return [("torch", ABSENT, "for Kilosort 4: pip install 'spikelab[kilosort4]'; RT-Sort on a GPU: [rt-sort]")]
    from importlib.metadata import version

    return [("torch", OK, version("torch"))]


def _sorters() -> list[Check]:
    from spikeinterface.sorters import installed_sorters

    from spikelab.spike_sorting.backends import list_sorters

    others = [f"spikeinterface:{name}" for name in installed_sorters() if name not in list_sorters()]
    return [(name, *_sorter_state(name)) for name in (*list_sorters(), *others)]


def _sorter_state(name: str) -> tuple[str, str]:
    """Whether a sorter can run here, and how, or what to do if not: the first sentence of what a sort would say."""
    from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
    from spikelab.spike_sorting.backends import get_backend_class
    from spikelab.spike_sorting.config import preset_for

    try:
        backend = get_backend_class(name)(preset_for(name))
        backend.check_installed()
    except EnvironmentSortFailure as error:
        return ABSENT, str(error).partition(". ")[0]
    return OK, backend.about()


def _docker() -> list[Check]:
    command = shutil.which("docker")
    if command is None:
        return [("docker", ABSENT, "not installed; only the docker presets need it")]
    state, text = _run([command, "info", "--format", "{{.ServerVersion}}"])
    client = importlib.util.find_spec("docker") is not None
    rows = [("docker daemon", state, text)]
    rows.append(("docker client", OK if client else ABSENT, "" if client else "pip install 'spikelab[docker]'"))
    return rows


def _plugins() -> list[Check]:
    path = os.environ.get("HDF5_PLUGIN_PATH")
    if path is None:
        return [("HDF5 plugins", ABSENT, "HDF5_PLUGIN_PATH is not set; vendor-compressed Maxwell files need it")]
    missing = [folder for folder in path.split(os.pathsep) if not Path(folder).is_dir()]
    if missing:
        return [("HDF5 plugins", BROKEN, f"HDF5_PLUGIN_PATH names a folder that does not exist: {missing[0]}")]
    return [("HDF5 plugins", OK, path)]


def _run(command: list[str]) -> tuple[str, str]:
    """State and first line of what a command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return BROKEN, str(error)
    lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
    return (OK if done.returncode == 0 else BROKEN), (lines[0] if lines else f"exit code {done.returncode}")


CHECKS: tuple[Callable[[], list[Check]], ...] = (_host, _packages, _gpu, _torch, _sorters, _docker, _plugins)
