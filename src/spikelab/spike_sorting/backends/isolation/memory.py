"""Keep a sorter's process within the memory limit of a worker of a cluster.

Dask counts the worker's own process only, and a batch system that counts all of them kills the worker with its sorter;
when the sorter alone is killed, the sort goes on with a smaller batch.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from spikelab.spike_sorting.backends.isolation.end import kill

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

logger = logging.getLogger(__name__)

WORTH_KILLING = 0.1  # of the limit: to free less than that would not help

_LIMIT: ContextVar[int | None] = ContextVar("spikelab_memory_limit", default=None)


@contextmanager
def memory_limit(n_bytes: int | None) -> Iterator[None]:
    """Limit the memory of this process and of a sorter's process that is started in the block."""
    token = _LIMIT.set(n_bytes)
    try:
        yield
    finally:
        _LIMIT.reset(token)


def enforce_limit(members: Sequence[psutil.Process]) -> bool:
    """Kill a sorter's processes if they and this one use more than the limit; returns whether they were killed."""
    limit = _LIMIT.get()
    if limit is None:
        return False
    total = memory_of([psutil.Process(), *members])
    if total <= limit or memory_of(members) < WORTH_KILLING * limit:
        return False
    logger.warning(
        "this worker and its sorter use %.2f GiB, and may use %.2f GiB: the sorter is ended",
        total / 2**30,
        limit / 2**30,
    )
    kill(None, members)
    return True


def memory_of(processes: Iterable[psutil.Process]) -> int:
    """Sum the bytes that processes would give back if they ended.

    Pages of mapped files do not count: they are a cache, which the system takes back when it needs the room. Memory
    that processes share counts once, as the largest share that one of them sees.
    """
    own = shared = 0
    for process in processes:
        with suppress(psutil.Error):  # it has ended
            of_this, shared_by_this = _own_and_shared(process)
            own, shared = own + of_this, max(shared, shared_by_this)
    return own + shared


def _own_and_shared(process: psutil.Process) -> tuple[int, int]:
    """Get the bytes of a process alone, and those it may share; without pages of files where the system tells."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8", errors="replace")
    except OSError:  # another system, or the process has ended, which the next line raises
        return int(process.memory_info().rss), 0
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    kib = [int(lines.get(name, "0 kB").split()[0]) for name in ("RssAnon", "RssShmem")]
    return kib[0] * 1024, kib[1] * 1024
