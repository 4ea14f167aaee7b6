"""One task in one fresh process: CPU seconds, wall seconds and the memory that it added at its peak."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.resources import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FREE_BYTES = 3 * 2**30
LIBRARIES = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA")  # each reads LIBRARY_NUM_THREADS when it is loaded


@dataclass(frozen=True)
class Cost:
    """What a task cost.

    Attributes
    ----------
    cpu_s, wall_s : list of float
        Of each repetition, after the warm-up.
    cold_cpu_s : float
        CPU seconds from the start of the process to the end of the warm-up: imports and compilation.
    added_mib : float
        Peak memory of the process less the memory it held after the warm-up.
    peak_mib : float
        Peak memory of the process, and of the largest process that it started.
    """

    cpu_s: list[float]
    wall_s: list[float]
    cold_cpu_s: float
    added_mib: float
    peak_mib: float

    @property
    def cpu(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.cpu_s)

    @property
    def wall(self) -> float:
        """Median wall seconds."""
        return statistics.median(self.wall_s)


def measure(
    task: str,
    *,
    repeats: int = 1,
    module: str = "benchmarks.tasks",
    threads: int = 1,
    source: Path | None = None,
    **arguments: Any,
) -> Cost:
    """Run ``<module>.<task>(**arguments)`` in a process of its own, with one thread in every library or `threads`.

    With the package as it is installed, or as it is below `source`.
    """
    job = json.dumps({"task": task, "module": module, "repeats": repeats, "arguments": arguments})
    command = [sys.executable, "-W", "ignore", "-m", __name__, job]
    limits = {f"{library}_NUM_THREADS": str(threads) for library in LIBRARIES}
    paths = {"PYTHONPATH": str(source)} if source else {}
    done = subprocess.run(command, env=os.environ | limits | paths, stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def measure_in_turn(variants: Mapping[str, Mapping[str, Any]], *, rounds: int, **arguments: Any) -> dict[str, Cost]:
    """Measure variants of a task in turn, `rounds` times each, so that a busy machine is as busy for all of them.

    Every other round is in reverse, so that none always comes after the same one. `variants` are arguments of
    :func:`measure` by name, `arguments` those in common.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in variants}
    for number in range(rounds):
        for name in list(variants)[:: -1 if number % 2 else 1]:
            costs[name].append(measure(**arguments, **variants[name]))
    return {name: _together(parts) for name, parts in costs.items()}


def _together(parts: Sequence[Cost]) -> Cost:
    return Cost(
        cpu_s=[value for part in parts for value in part.cpu_s],
        wall_s=[value for part in parts for value in part.wall_s],
        cold_cpu_s=statistics.median(part.cold_cpu_s for part in parts),
        added_mib=max(part.added_mib for part in parts),
        peak_mib=max(part.peak_mib for part in parts),
    )


@dataclass(frozen=True)
class Work:
    """What is timed, and what is done before each time: for work that writes files."""

    run: Callable[[], Any]
    before: Callable[[], Any]

    def __call__(self) -> Any:
        """Do it."""
        return self.run()


def _run(task: str, module: str, repeats: int, arguments: dict[str, Any]) -> Cost:
    """In the child: ``prepare`` makes the warm-up and returns the work."""
    prepare: Callable[..., Callable[[], Any]] = getattr(importlib.import_module(module), task)
    work = prepare(**arguments)
    before: Callable[[], Any] = getattr(work, "before", lambda: None)
    cold, held, peak = cpu_seconds(), _memory_mib("VmRSS"), 0.0
    cpu, wall = [], []
    for _ in range(repeats):
        before()
        _touch_free_memory()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts again
        start = cpu_seconds(), time.perf_counter()
        work()
        cpu.append(cpu_seconds() - start[0])
        wall.append(time.perf_counter() - start[1])
        peak = max(peak, _memory_mib("VmHWM"))
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    return Cost(cpu, wall, cold, peak - held, peak + children)


def _touch_free_memory() -> None:
    """So that it is there: a virtual machine may have given it back, and then up to half of all time goes into pages.

    They are paid for by whatever is first to write there, a file included, which makes any two numbers differ.
    """
    np.ones(FREE_BYTES, dtype=np.uint8)


def _memory_mib(field: str) -> float:
    """Read from Linux: its ``ru_maxrss`` would start at the peak of the parent process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 2**10 for line in lines if line.startswith(field))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", type=json.loads)
    print(json.dumps(asdict(_run(**parser.parse_args().job))))
