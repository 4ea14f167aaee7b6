"""Which task a worker that has nothing to do gets next. Knows nothing of dask: only tasks, workers and the policy.

A sort that wants a GPU is two tasks where there are workers with and without one: recording and sorting go to the GPU,
the rest to the others, so that no GPU waits for waveforms.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spikelab.spike_sorting.batch.policy import Policy
    from spikelab.spike_sorting.batch.worker import Part

SCANNED = 32
SCRATCH_AHEAD = 2  # sorted recordings per CPU worker that may wait, each with its filtered copy on a disk


@dataclass(frozen=True)
class Worker:
    """A process that takes one task at a time.

    Attributes
    ----------
    address, host : str
    gpus : float
        What it offers as the resource "GPU".
    memory : int or None
        Bytes that it and what it starts may use.
    takes_tasks : bool
        Not one that its cluster has paused, for example because memory is short: what it does goes on.
    """

    address: str
    host: str
    gpus: float = 0.0
    memory: int | None = None
    takes_tasks: bool = True


@dataclass
class Task:
    """One job, or a part of it, and what happened to it so far."""

    index: int
    sorter: str = ""
    wants_gpu: bool = False
    may_be_split: bool = True
    part: Part = "whole"
    host: str | None = None  # where its scratch may be
    not_before: float = 0.0
    lost: int = 0
    error: Exception | None = None  # the environment's, if it is tried elsewhere
    avoid: set[str] = field(default_factory=set)  # hosts where its folders cannot be used


@dataclass
class Dispatcher:
    """Tasks that wait, in order."""

    policy: Policy
    for_gpu: deque[Task] = field(default_factory=deque)
    for_any: deque[Task] = field(default_factory=deque)
    rest: deque[Task] = field(default_factory=deque)
    later: list[Task] = field(default_factory=list)

    def add(self, tasks: Iterable[Task]) -> None:
        """Let tasks wait behind the others of their kind."""
        for task in tasks:
            self._queue(task).append(task)

    def again(self, task: Task, not_before: float = 0.0) -> None:
        """Let a task that did not get through wait for another try, before the others."""
        task.not_before = not_before
        self.later.append(task)

    def __len__(self) -> int:
        return len(self.for_gpu) + len(self.for_any) + len(self.rest) + len(self.later)

    def drain(self) -> list[Task]:
        """Take all that waits."""
        tasks = [*self.later, *self.rest, *self.for_any, *self.for_gpu]
        for queue in (self.for_gpu, self.for_any, self.rest, self.later):
            queue.clear()
        return tasks

    def next_for(self, worker: Worker, workers: Sequence[Worker], now: float) -> Task | None:
        """The task that `worker` should do next; None where there is none for it.

        Parameters
        ----------
        worker : Worker
            Has nothing to do.
        workers : sequence of Worker
            All that there are.
        now : float
            By the clock of ``not_before``.
        """
        self._due(now)
        task = self._first(self.for_gpu, worker)
        if task is None:
            return self._for_cpu(worker)
        usable = [other for other in workers if self.may_do(other.host, task)]
        with_gpu = [other for other in usable if other.gpus]
        n_without = len(usable) - len(with_gpu)
        ahead = len(self.rest) > SCRATCH_AHEAD * n_without
        if with_gpu and (not worker.gpus or ahead):
            return self._for_cpu(worker)
        if not with_gpu and (other := self._for_cpu(worker)) is not None:
            return other
        self.for_gpu.remove(task)
        task.part = "sorter" if with_gpu and n_without and task.may_be_split else "whole"
        return task

    def may_do(self, host: str, task: Task) -> bool:
        """Whether `task` may be started on `host`."""
        return host not in task.avoid and self.policy.may_start(host, task.sorter)

    def hopeless(self, workers: Iterable[Worker]) -> list[Task]:
        """Take away what may not be started on any host that there is."""
        hosts = {worker.host for worker in workers}
        found = []
        for queue in (self.for_gpu, self.for_any, self.rest, self.later):
            found += [task for task in queue if not any(self.may_do(host, task) for host in hosts)]
        for task in found:
            (self.later if task in self.later else self._queue(task)).remove(task)
        return found

    def _for_cpu(self, worker: Worker) -> Task | None:
        """Finish what was begun, best on the host that has its scratch; then what needs no GPU."""
        near = (task for task in islice(self.rest, SCANNED) if task.host == worker.host)
        task = next((task for task in near if self.may_do(worker.host, task)), None) or self._first(self.rest, worker)
        if task is not None:
            self.rest.remove(task)
            return task
        task = self._first(self.for_any, worker)
        if task is not None:
            self.for_any.remove(task)
        return task

    def _first(self, queue: Iterable[Task], worker: Worker) -> Task | None:
        return next((task for task in queue if self.may_do(worker.host, task)), None)

    def _due(self, now: float) -> None:
        due = [task for task in self.later if task.not_before <= now]
        if due:
            self.later = [task for task in self.later if task.not_before > now]
            for task in due:
                self._queue(task).appendleft(task)

    def _queue(self, task: Task) -> deque[Task]:
        if task.part == "rest":
            return self.rest
        return self.for_gpu if task.wants_gpu else self.for_any
