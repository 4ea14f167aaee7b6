"""What this machine has: GPUs, memory and folders, found out in fractions of a second and without loading torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from spikelab.system import cgroups

ANSWER_WITHIN_S = 10
GPU_QUERY = ("--query-gpu=index,name,memory.free,memory.total", "--format=csv,noheader,nounits")
DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia/version")  # also where nvidia-smi is missing


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU; memory in bytes."""

    index: int
    name: str
    free: int
    total: int


@dataclass(frozen=True)
class Gpus:
    """What the driver says.

    Attributes
    ----------
    found : tuple of Gpu
        Those that this process may use.
    problem : str
        Why there is none; "" otherwise.
    unknown : bool
        There is a driver, but nothing that lists its GPUs: there may be some.
    """

    found: tuple[Gpu, ...] = ()
    problem: str = ""
    unknown: bool = False


def gpus() -> Gpus:
    """Ask the driver for its GPUs; those that ``CUDA_VISIBLE_DEVICES`` hides are left out."""
    command = shutil.which("nvidia-smi")
    if command is None:
        if any(Path(name).exists() for name in DRIVER_FILES):
            return Gpus(unknown=True)
        return Gpus(problem="there is no NVIDIA driver (no nvidia-smi)")
    try:
        done = subprocess.run(
            [command, *GPU_QUERY], capture_output=True, text=True, timeout=ANSWER_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Gpus(problem=f"nvidia-smi does not answer ({error})")
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        return Gpus(problem=f"nvidia-smi fails: {words[0]}")
    found = tuple(gpu for line in done.stdout.splitlines() if (gpu := _gpu(line)) is not None)
    if not found:
        return Gpus(problem="nvidia-smi lists no GPU")
    visible = _visible(found)
    if not visible:
        return Gpus(problem=f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r} hides every GPU")
    return Gpus(visible)


def _gpu(line: str) -> Gpu | None:
    index, _, rest = line.partition(",")
    name, *memory = rest.rsplit(",", 2)
    try:
        free, total = (int(amount.split()[0]) * 2**20 for amount in memory)  # in MiB, with or without saying so
        return Gpu(int(index), name.strip(), free, total)
    except (ValueError, IndexError):  # "[N/A]": memory that is shared with the host
        return None


def _visible(found: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """In the order in which CUDA numbers them."""
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return found
    names = [name.strip() for name in setting.split(",")]
    if any(name and not name.lstrip("-").isdecimal() for name in names):  # by UUID: cannot be told apart here
        return found
    by_index = {gpu.index: gpu for gpu in found}
    chosen = []
    for name in names:
        if not name or int(name) not in by_index:
            break  # CUDA ignores all from the first that is not there on
        chosen.append(by_index[int(name)])
    return tuple(chosen)


def existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next((folder for folder in (path, *path.parents) if folder.exists()), Path(path.anchor))


def available_memory() -> int:
    """Bytes that can still be used: of the machine, or of the container or job that this process is in."""
    import psutil

    return min([int(psutil.virtual_memory().available), *cgroups.memory_left()])
