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

    from spikelab.spike_sorting._batch import Policy
    from spikelab.spike_sorting._worker import Part

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
    """

    address: str
    host: str
    gpus: float = 0.0
    memory: int | None = None


@dataclass
class Task:
    """One job, or a part of it, and what happened to it so far."""

    index: int
    wants_gpu: bool = False
    may_be_split: bool = True
    part: Part = "whole"
    host: str | None = None  # where its scratch may be
    not_before: float = 0.0
    lost: int = 0
    error: Exception | None = None  # the environment's, if it is tried elsewhere


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
        if not self.policy.may_start(worker.host):
            return None
        self._due(now)
        usable = [other for other in workers if self.policy.may_start(other.host)]
        with_gpu = [other for other in usable if other.gpus]
        n_without = len(usable) - len(with_gpu)
        ahead = len(self.rest) > SCRATCH_AHEAD * n_without
        if self.for_gpu and (not with_gpu or (worker.gpus and not (ahead and self.rest))):
            if not with_gpu and (self.rest or self.for_any):
                return self._for_cpu(worker)
            task = self.for_gpu.popleft()
            task.part = "sorter" if with_gpu and n_without and task.may_be_split else "whole"
            return task
        return self._for_cpu(worker)

    def _for_cpu(self, worker: Worker) -> Task | None:
        """Finish what was begun, best on the host that has its scratch; then what needs no GPU."""
        near = next((task for task in islice(self.rest, SCANNED) if task.host == worker.host), None)
        if near is not None:
            self.rest.remove(near)
            return near
        if self.rest:
            return self.rest.popleft()
        return self.for_any.popleft() if self.for_any else None

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
