"""CPU cores, and the time and memory that work takes."""

from __future__ import annotations

import math
import os
import sys
import time

from spikelab.system import cgroups


def available_cores() -> int:
    """Count the cores that this process may use: a container or a batch system may limit cores or CPU time."""
    visible = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([visible, *map(math.ceil, cgroups.cores())]))


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
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()

    def so_far(self) -> dict[str, float]:
        """Return ``{"wall_s", "cpu_s", "peak_memory_mib"}``."""
        return {
            "wall_s": round(time.perf_counter() - self._wall, 3),
            "cpu_s": round(cpu_seconds() - self._cpu, 3),
            "peak_memory_mib": round(peak_memory_mib(), 1),
        }
