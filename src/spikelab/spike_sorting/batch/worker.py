"""Run one task of a batch in a worker of a cluster, until the task is done or ended from outside.

Processes that a dead worker leaves behind end themselves (:mod:`spikelab.spike_sorting.backends.isolation.child_main`).
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import pickle
import threading
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from spikelab.spike_sorting._exceptions import ConcurrentSortError
from spikelab.spike_sorting.backends.isolation.memory import memory_limit
from spikelab.spike_sorting.run.sort_one import Limits, Sorted, run_the_sorter, sort_one

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikelab.spike_sorting.run.jobs import Job

Part = Literal["whole", "sorter", "rest"]


@dataclass(frozen=True)
class TaskResult:
    """Result of a task, as the client gets it: paths and numbers, never traces or spikes."""

    done: Sorted | None = None  # without its data, which is on disk
    error: Exception | None = None
    busy: bool = False  # another run holds the folders; nothing was tried
    interrupted: bool = False  # from outside


_THREADS: dict[str, int] = {}  # thread of the task of a batch that this process runs; a worker runs one at a time
_CHANGING = threading.Lock()
_ONE_AT_A_TIME = threading.Lock()


def run_task(job: Job, part: Part, batch: str, limits: Limits, *, quiet: bool = False) -> TaskResult:
    """Run a part of `job`, which :func:`end_batch` ends by the name `batch`; errors are returned, not raised.

    The part "sorter" is the first two stages, the others are all stages that are not done. `quiet`: log records go to
    the log of the run alone.
    """
    with _ONE_AT_A_TIME:
        _prepare(quiet=quiet)
        try:
            with _can_be_ended(batch), memory_limit(limits.memory):
                if part == "sorter":
                    run_the_sorter(job, limits)
                    return TaskResult()
                return TaskResult(done=replace(sort_one(job, limits), results=None, figure_data=None))
        except KeyboardInterrupt:
            return TaskResult(interrupted=True)
        except ConcurrentSortError as error:
            return TaskResult(error=_picklable(error), busy=True)
        except Exception as error:  # noqa: BLE001 - one recording must not end the others
            return TaskResult(error=_picklable(error))


def end_batch(batch: str) -> bool:
    """Interrupt the task of `batch` in another thread of this process, as Ctrl-C would; False where there is none."""
    with _CHANGING:
        if batch not in _THREADS:
            return False
        interrupt = ctypes.py_object(KeyboardInterrupt)
        return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(_THREADS[batch]), interrupt))


@contextmanager
def _can_be_ended(batch: str) -> Iterator[None]:
    with _CHANGING:
        _THREADS[batch] = threading.get_ident()
    try:
        yield
    finally:
        with _CHANGING:
            _THREADS.pop(batch, None)
        time.sleep(0)  # an interrupt that was sent until then is raised here


def _prepare(*, quiet: bool) -> None:
    """Let this process start others, and keep its log records to the run where `quiet`; may be called again."""
    process = multiprocessing.current_process()
    if process.daemon:  # sorters and readers may start processes; dask's workers may not
        process._config["daemon"] = False  # type: ignore[attr-defined]
    if quiet:
        package = logging.getLogger("spikelab")
        if not package.handlers:
            package.addHandler(logging.NullHandler())
        package.propagate = False
        warnings.simplefilter("ignore")


def _picklable(error: Exception) -> Exception:
    """Return `error`, or its words where it cannot be pickled for the way to the client."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - pickling runs code of the exception's class
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
