"""Cores, memory and time: what this process may use, and what it has used.

On Linux a container or a batch system limits a process by control groups (cgroups, versions 1 and 2). A limit may be
set for the group of this process, or for any group around it; the lowest limit holds. In a container without a name
space of its own ``/proc/self/cgroup`` names a path that does not exist there, and the container's group is mounted as
the root: the root is read last.
"""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")  # lines of "number:controllers:path"; version 2 names no controllers
UNIFIED = "unified"  # where version 2 is mounted beside version 1
# Of each version: files with the limit and the usage of memory, and the entry of memory.stat that counts cached files.
MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_cores() -> int:
    """Count the cores that this process may use: a container or a batch system may limit cores or CPU time."""
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([visible, *map(math.ceil, core_quotas())]))


def available_memory() -> int:
    """Return the bytes that are available: of the machine, or of the container or job of this process."""
    import psutil

    return min([int(psutil.virtual_memory().available), *memory_left()])


def peak_memory_mib() -> float:
    """Return the peak resident memory of this process so far, in MiB."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its ended children, in seconds."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Usage:
    """Wall and CPU seconds since construction, and the peak memory of the process."""

    def __init__(self) -> None:
        self._wall, self._cpu, self._peak = time.perf_counter(), cpu_seconds(), peak_memory_mib()

    def so_far(self) -> dict[str, float]:
        """Return ``{"wall_s", "cpu_s", "peak_memory_mib", "set_peak_memory"}``; did the peak grow."""
        peak = peak_memory_mib()
        return {
            "wall_s": round(time.perf_counter() - self._wall, 3),
            "cpu_s": round(cpu_seconds() - self._cpu, 3),
            "peak_memory_mib": round(peak, 1),
            "set_peak_memory": peak > self._peak,
        }


def memory_left() -> list[int]:
    """Return the bytes left under each limit; cached files count as free, since the system drops them on demand."""
    left = []
    for group in _groups("memory"):
        for limit_file, usage_file, cache in MEMORY:
            try:
                limit, usage = int(_read(group / limit_file)), int(_read(group / usage_file))
            except (OSError, ValueError):  # no limit ("max"), or not of this version
                continue
            left.append(limit - usage + _cached(group / "memory.stat", cache))
    return left


def core_quotas() -> list[float]:
    """Return each quota of CPU time, in cores."""
    found = []
    for group in _groups("cpu"):
        try:
            quota, period = _quota(group)
        except (OSError, ValueError):  # no quota ("max"), or another system
            continue
        if quota > 0 and period > 0:
            found.append(quota / period)
    return found


def _quota(group: Path) -> tuple[int, int]:
    if (group / "cpu.max").exists():
        quota, period = _read(group / "cpu.max").split()
        return int(quota), int(period)
    return int(_read(group / "cpu.cfs_quota_us")), int(_read(group / "cpu.cfs_period_us"))


def _groups(controller: str) -> Iterator[Path]:
    """List the groups of this process that can have limits of `controller`, innermost first."""
    seen: set[Path] = set()
    for mount, path in _memberships(controller):
        inside = [part for part in Path(path).parts if part not in ("/", "..")]
        for depth in range(len(inside), -1, -1):
            group = mount.joinpath(*inside[:depth])
            if group not in seen:
                seen.add(group)
                yield group


def _memberships(controller: str) -> Iterator[tuple[Path, str]]:
    """List where groups of `controller` are mounted, with the path of this process's group."""
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # another system
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield ROOT, path
            yield ROOT / UNIFIED, path
        elif controller in controllers.split(","):
            yield ROOT / controller, path
            yield ROOT / controllers, path


def _cached(path: Path, name: str) -> int:
    try:
        values = dict(line.split(maxsplit=1) for line in _read(path).splitlines())
        return int(values[name])
    except (OSError, ValueError, KeyError):
        return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()
