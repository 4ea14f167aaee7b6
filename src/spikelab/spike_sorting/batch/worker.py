"""What runs in a worker of a cluster: one task of one job, which may be ended from outside, and its memory watched.

A worker is a process that somebody else started. It is told apart from a user's process by what it cannot do: it may
not have children where it is daemonic, and nothing counts the memory of those that it has. Both are put right when the
first task arrives; what a dead worker leaves behind ends itself (:mod:`.backends._child_main`).
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import pickle
import threading
import time
import warnings
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spikelab.spike_sorting._exceptions import ConcurrentSortError
from spikelab.spike_sorting.run.sort_one import Limits, Sorted, run_the_sorter, sort_one

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import psutil

    from spikelab.spike_sorting.run.jobs import Job

logger = logging.getLogger(__name__)

Part = Literal["whole", "sorter", "rest"]
GUARD_S = 1.0
WORTH_ENDING = 0.1  # of the limit: ending less than that would not help


@dataclass(frozen=True)
class Told:
    """What a task tells the client: paths and numbers, never traces or spikes.

    Attributes
    ----------
    done : Sorted or None
        Without its data, which is on disk.
    error : Exception or None
    busy : bool
        Another run holds the folders; nothing was tried.
    interrupted : bool
        The client asked it to end.
    """

    done: Sorted | None = None
    error: Exception | None = None
    busy: bool = False
    interrupted: bool = False


@dataclass
class _State:
    """What this process does now; a worker sorts one recording at a time."""

    batch: str | None = None
    thread: int | None = None
    context: Context | None = None  # of what is sorted: what is logged in it goes to the log of that run
    memory: int | None = None
    guard: threading.Thread | None = None


_STATE = _State()
_CHANGING = threading.Lock()
_ONE_AT_A_TIME = threading.Lock()


def run_task(job: Job, part: Part, batch: str, limits: Limits, *, quiet: bool = False) -> Told:
    """Run a part of `job` as one process would; whatever goes wrong is told, not raised.

    Parameters
    ----------
    job : Job
    part : {"whole", "sorter", "rest"}
        The first two stages only, or all that are not done.
    batch : str
        By this name :func:`end_batch` ends it.
    limits : Limits
        Share of this host.
    quiet : bool
        Whether what is logged goes to the log of the run alone.
    """
    with _ONE_AT_A_TIME:
        _prepare(limits, quiet=quiet)
        try:
            with _can_be_ended(batch):
                assert _STATE.context is not None
                return _STATE.context.run(_sorted, job, part, limits)
        except KeyboardInterrupt:
            return Told(interrupted=True)
        except ConcurrentSortError as error:
            return Told(error=_travels(error), busy=True)
        except Exception as error:  # noqa: BLE001 - one recording must not end the others
            return Told(error=_travels(error))


def _sorted(job: Job, part: Part, limits: Limits) -> Told:
    if part == "sorter":
        run_the_sorter(job, limits)
        return Told()
    return Told(done=replace(sort_one(job, limits), results=None, figure_data=None))


def end_batch(batch: str) -> bool:
    """End what this process does for `batch`, as Ctrl-C would: the sorter is asked, and the folders are left in order.

    Called from another thread than the one that sorts. Returns whether there was something to end.
    """
    with _CHANGING:
        if _STATE.batch != batch or _STATE.thread is None:
            return False
        interrupt = ctypes.py_object(KeyboardInterrupt)
        return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(_STATE.thread), interrupt))


@contextmanager
def _can_be_ended(batch: str) -> Iterator[None]:
    with _CHANGING:
        _STATE.batch, _STATE.thread, _STATE.context = batch, threading.get_ident(), copy_context()
    try:
        yield
    finally:
        with _CHANGING:
            _STATE.batch = _STATE.thread = _STATE.context = None
        time.sleep(0)  # what was sent until then arrives here


def _prepare(limits: Limits, *, quiet: bool) -> None:
    """Make this process fit to sort; again and again without harm."""
    process = multiprocessing.current_process()
    if process.daemon:  # sorters and readers may start processes; those of dask's workers may not
        process._config["daemon"] = False  # type: ignore[attr-defined]
    if quiet:
        package = logging.getLogger("spikelab")
        if not package.handlers:
            package.addHandler(logging.NullHandler())
        package.propagate = False
        warnings.simplefilter("ignore")
    _STATE.memory = limits.memory
    if limits.memory is not None and (_STATE.guard is None or not _STATE.guard.is_alive()):
        _STATE.guard = threading.Thread(target=_watch_memory, name="spikelab-memory", daemon=True)
        _STATE.guard.start()


def _watch_memory() -> None:
    """End the sorter when it and its worker use more than the worker may; the sort then goes on with less.

    Dask looks at the worker's own process only, and a cluster that looks at all of them would kill the worker too.
    """
    while True:
        time.sleep(GUARD_S)
        context, memory = _STATE.context, _STATE.memory
        if context is not None and memory is not None:
            with suppress(Exception):  # processes come and go while they are counted
                context.copy().run(end_the_greedy, memory)


def end_the_greedy(limit: int) -> bool:
    """Kill the child of this process that uses most, with all that it started, if together all use more than `limit`.

    Returns whether it did.
    """
    import psutil

    this = psutil.Process()
    trees = [[child, *child.children(recursive=True)] for child in this.children()]
    used = [memory_of(tree) for tree in trees]
    total = memory_of([this, *(member for tree in trees for member in tree)])
    if total <= limit or not trees or max(used) < WORTH_ENDING * limit:
        return False
    greedy = trees[used.index(max(used))]
    logger.warning(
        "this worker and its sorter use %.2f GiB, and may use %.2f GiB: the sorter is ended",
        total / 2**30,
        limit / 2**30,
    )
    for member in greedy:
        with suppress(psutil.Error):
            member.kill()
    return True


def memory_of(processes: Iterable[psutil.Process]) -> int:
    """Bytes that processes use, and would give back if they ended.

    Pages of a file that is mapped are not among them: they are a cache, which the system takes back when it needs the
    room. Memory that processes share counts once, as much as the one of them that sees most of it.
    """
    import psutil

    own, shared = [0], [0]
    for process in processes:
        try:
            of_one = _own_and_shared(process)
        except psutil.Error:  # it has ended
            continue
        own.append(of_one[0])
        shared.append(of_one[1])
    return sum(own) + max(shared)


def _own_and_shared(process: psutil.Process) -> tuple[int, int]:
    """Bytes of a process alone, and of memory that others may share with it; without pages of files where known."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system, or it has ended, which the next line says
        return int(process.memory_info().rss), 0
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    kib = [int(lines.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssShmem")]
    return kib[0] * 1024, kib[1] * 1024


def _travels(error: Exception) -> Exception:
    """The error, or, where the way to the client would be its end, its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - anything may happen in the pickling of somebody's exception
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
