"""GPUs of this machine, listed in a fraction of a second and without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 10
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
    """GPUs that this process may use, or why there is none."""

    found: tuple[Gpu, ...] = ()
    problem: str = ""  # why there is none
    unknown: bool = False  # there is a driver, but no nvidia-smi that lists its GPUs


def gpus() -> Gpus:
    """List the GPUs of the driver, without those that ``CUDA_VISIBLE_DEVICES`` hides."""
    command = shutil.which("nvidia-smi")
    if command is None:
        if any(Path(name).exists() for name in DRIVER_FILES):
            return Gpus(unknown=True)
        return Gpus(problem="there is no NVIDIA driver (no nvidia-smi)")
    lines, problem = _query(command)
    if problem:
        return Gpus(problem=problem)
    found = tuple(gpu for line in lines if (gpu := _gpu(line)) is not None)
    if not found:
        return Gpus(problem="nvidia-smi lists no GPU")
    visible = _visible(found)
    if not visible:
        return Gpus(problem=f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r} hides every GPU")
    return Gpus(visible)


def _query(command: str) -> tuple[list[str], str]:
    """Run nvidia-smi; return its lines, and what is wrong, "" if nothing."""
    try:
        done = subprocess.run([command, *GPU_QUERY], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"nvidia-smi does not answer ({error})"
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
        return [], f"nvidia-smi fails: {words[0]}"
    return done.stdout.splitlines(), ""


def _gpu(line: str) -> Gpu | None:
    index, _, rest = line.partition(",")
    name, *memory = rest.rsplit(",", 2)
    try:
        free, total = (int(amount.split()[0]) * 2**20 for amount in memory)  # MiB; the unit may be missing
        return Gpu(int(index), name.strip(), free, total)
    except (ValueError, IndexError):  # "[N/A]" where memory is shared with the host
        return None


def _visible(found: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """Select the GPUs that ``CUDA_VISIBLE_DEVICES`` names, in the order in which CUDA numbers them."""
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return found
    names = [name.strip() for name in setting.split(",")]
    if any(name and not name.lstrip("-").isdecimal() for name in names):  # UUIDs, which the query does not list
        return found
    by_index = {gpu.index: gpu for gpu in found}
    chosen = []
    for name in names:
        if not name or int(name) not in by_index:
            break  # CUDA ignores all names after the first that does not exist
        chosen.append(by_index[int(name)])
    return tuple(chosen)
