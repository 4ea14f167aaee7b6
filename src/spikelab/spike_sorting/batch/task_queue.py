"""Choose the next task of an idle worker, from tasks, workers and the failure policy; independent of dask.

A sort that wants a GPU is two tasks where there are workers with and without one: recording and sorting go to the GPU,
the other stages to workers without, so that no GPU waits for waveforms.

==========  ==============  ===============  =======================================================
GPUs exist  worker has one  scratch is full  the worker gets
==========  ==============  ===============  =======================================================
no          no              any              the rest of a sorted recording, then what wants no GPU,
                                             then a whole sort on the CPU
yes         no              any              the rest of a sorted recording, then what wants no GPU
yes         yes             yes              the same, until fewer sorted recordings wait
yes         yes             no               a sort that wants a GPU; only its first stages where
                                             workers without a GPU can do the rest
==========  ==============  ===============  =======================================================
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
    """A process of the cluster that takes one task at a time."""

    address: str
    host: str
    gpus: float = 0.0  # amount of the resource "GPU"
    memory: int | None = None  # bytes for the worker and its descendants
    takes_tasks: bool = True  # False while its cluster pauses it, for example because memory is short; its task goes on


@dataclass
class Task:
    """One job, or a part of one, and its failures so far."""

    index: int
    sorter: str = ""
    wants_gpu: bool = False
    may_be_split: bool = True
    part: Part = "whole"
    host: str | None = None  # that may have the scratch
    not_before: float = 0.0
    lost: int = 0
    error: Exception | None = None  # of another host's environment
    avoid: set[str] = field(default_factory=set)  # hosts that cannot use the folders


@dataclass
class TaskQueue:
    """Queues of waiting tasks."""

    policy: Policy
    for_gpu: deque[Task] = field(default_factory=deque)
    for_any: deque[Task] = field(default_factory=deque)
    rest: deque[Task] = field(default_factory=deque)
    later: list[Task] = field(default_factory=list)

    def add(self, tasks: Iterable[Task]) -> None:
        """Append tasks to the queue of their kind."""
        for task in tasks:
            self._queue(task).append(task)

    def again(self, task: Task, not_before: float = 0.0) -> None:
        """Re-queue a task that failed for want of a worker or host, at the front, not before `not_before`."""
        task.not_before = not_before
        self.later.append(task)

    def __len__(self) -> int:
        return len(self.for_gpu) + len(self.for_any) + len(self.rest) + len(self.later)

    def next_for(self, worker: Worker, workers: Sequence[Worker], now: float) -> Task | None:
        """Take the next task for an idle worker of all `workers`; None where no task suits the worker."""
        self._queue_due(now)
        task = self._first(self.for_gpu, worker)
        if task is None:
            return self._take_for_cpu(worker)
        n_gpu, n_cpu = self._count_able(task, workers)
        if not n_gpu:  # the sorter's CPU version, after everything that wants no GPU
            return self._take_for_cpu(worker) or self._take_for_gpu(task, "whole")
        if not worker.gpus or self.scratch_is_full(n_cpu):
            return self._take_for_cpu(worker)
        return self._take_for_gpu(task, "sorter" if n_cpu and task.may_be_split else "whole")

    def may_do(self, host: str, task: Task) -> bool:
        """Tell whether `task` may be started on `host`."""
        return host not in task.avoid and self.policy.may_start(host, task.sorter)

    def hopeless(self, workers: Iterable[Worker]) -> list[Task]:
        """Remove and return tasks that may not be started on any host of the cluster."""
        hosts = {worker.host for worker in workers}
        tasks = [*self.for_gpu, *self.for_any, *self.rest, *self.later]
        found = [task for task in tasks if not any(self.may_do(host, task) for host in hosts)]
        for task in found:
            (self.later if task in self.later else self._queue(task)).remove(task)
        return found

    def _count_able(self, task: Task, workers: Iterable[Worker]) -> tuple[int, int]:
        """Count workers with and without a GPU that may do `task`."""
        have_gpu = [worker.gpus > 0 for worker in workers if self.may_do(worker.host, task)]
        return sum(have_gpu), len(have_gpu) - sum(have_gpu)

    def scratch_is_full(self, n_cpu: int) -> bool:
        """Tell whether sorted recordings wait that `n_cpu` workers without a GPU have to finish first."""
        return len(self.rest) > SCRATCH_AHEAD * n_cpu

    def _take_for_gpu(self, task: Task, part: Part) -> Task:
        self.for_gpu.remove(task)
        task.part = part
        return task

    def _take_for_cpu(self, worker: Worker) -> Task | None:
        """Take the rest of a sorted recording, first of one whose scratch is on this host; then what wants no GPU."""
        near = [task for task in islice(self.rest, SCANNED) if task.host == worker.host]
        for waiting, queue in ((near, self.rest), (self.rest, self.rest), (self.for_any, self.for_any)):
            task = self._first(waiting, worker)
            if task is not None:
                queue.remove(task)
                return task
        return None

    def _first(self, queue: Iterable[Task], worker: Worker) -> Task | None:
        return next((task for task in queue if self.may_do(worker.host, task)), None)

    def _queue_due(self, now: float) -> None:
        due = [task for task in self.later if task.not_before <= now]
        if due:
            self.later = [task for task in self.later if task.not_before > now]
            for task in due:
                self._queue(task).appendleft(task)

    def _queue(self, task: Task) -> deque[Task]:
        if task.part == "rest":
            return self.rest
        return self.for_gpu if task.wants_gpu else self.for_any
