"""Which worker gets what, and where nothing more is started."""

from __future__ import annotations

from typing import Any

import pytest

from spikelab.spike_sorting._exceptions import (
    ConcurrentSortError,
    FolderUnusableError,
    GPUUnavailableError,
    InsufficientActivityError,
)
from spikelab.spike_sorting.batch.cluster import worker_specifications
from spikelab.spike_sorting.batch.policy import Policy
from spikelab.spike_sorting.batch.task_queue import Task, TaskQueue, Worker

GPU, CPU = Worker("gpu", "a", gpus=1), Worker("cpu", "a")
OTHER = Worker("other", "b")


def task_queue(*tasks: Task) -> TaskQueue:
    made = TaskQueue(Policy())
    made.add(tasks)
    return made


def test_the_sorter_goes_to_the_gpu_and_the_rest_to_the_others() -> None:
    waiting = task_queue(*(Task(i, wants_gpu=True) for i in range(2)))
    assert waiting.next_for(CPU, [GPU, CPU], 0) is None
    first = waiting.next_for(GPU, [GPU, CPU], 0)
    assert first is not None
    assert (first.index, first.part) == (0, "sorter")
    first.part, first.host = "rest", "a"
    waiting.add([first])
    second = waiting.next_for(GPU, [GPU, CPU], 0)
    assert second is not None
    assert (second.index, second.part) == (1, "sorter")  # the GPU does not do waveforms while a sort waits
    assert waiting.next_for(CPU, [GPU, CPU], 0) is first


def test_without_a_choice_a_job_is_one_task() -> None:
    for everyone in ([GPU], [CPU]):
        task = task_queue(Task(0, wants_gpu=True)).next_for(everyone[0], everyone, 0)
        assert task is not None
        assert task.part == "whole"
    forced = task_queue(Task(0, wants_gpu=True, may_be_split=False)).next_for(GPU, [GPU, CPU], 0)
    assert forced is not None
    assert forced.part == "whole"


@pytest.mark.parametrize(
    ("n_waiting", "n_cpus", "part"), [(2, 1, "sorter"), (3, 1, "rest"), (4, 2, "sorter"), (5, 2, "rest")]
)
def test_scratch_does_not_pile_up_before_slow_cpus(n_waiting: int, n_cpus: int, part: str) -> None:
    """Two sorted recordings may wait for each worker without a GPU; from the third on, the GPU helps."""
    rest = [Task(i, wants_gpu=True, part="rest", host="a") for i in range(n_waiting)]
    waiting = task_queue(Task(9, wants_gpu=True), *rest)
    task = waiting.next_for(GPU, [GPU, *[Worker(f"cpu{k}", "a") for k in range(n_cpus)]], 0)
    assert task is not None
    assert task.part == part


NO_GPU, FULL, FREE = [CPU], 3, 0
CHOICES = [
    # workers, the idle one, sorted recordings that wait, other tasks that wait -> what it gets
    (NO_GPU, CPU, FREE, ["any"], "any"),
    (NO_GPU, CPU, FULL, ["any"], "rest"),
    (NO_GPU, CPU, FREE, [], "whole sort"),
    ([GPU, CPU], CPU, FREE, [], None),
    ([GPU, CPU], CPU, FREE, ["any"], "any"),
    ([GPU, CPU], CPU, FULL, ["any"], "rest"),
    ([GPU, CPU], GPU, FREE, ["any"], "sorter"),
    ([GPU, CPU], GPU, FULL, ["any"], "rest"),
    ([GPU], GPU, FREE, ["any"], "whole sort"),
    ([GPU], GPU, FULL, ["any"], "rest"),
]


@pytest.mark.parametrize(("workers", "idle", "n_rest", "others", "expected"), CHOICES)
def test_the_table_of_choices(
    workers: list[Worker], idle: Worker, n_rest: int, others: list[str], expected: str | None
) -> None:
    """Row by row of the table at the head of the module: a sort that wants a GPU waits in each."""
    rest = [Task(i, wants_gpu=True, part="rest", host="a") for i in range(n_rest)]
    waiting = task_queue(Task(9, wants_gpu=True), *rest, *(Task(8) for _ in others))
    task = waiting.next_for(idle, workers, 0)
    names = {
        "rest": "rest",
        "sorter": "sorter",
        "whole": "any" if task is not None and task.index == 8 else "whole sort",
    }
    assert (None if task is None else names[task.part]) == expected
    assert len(waiting) == n_rest + len(others) + (task is None)


def test_the_rest_stays_near_its_scratch() -> None:
    far, near = Task(0, part="rest", host="a"), Task(1, part="rest", host="b")
    waiting = task_queue(far, near)
    assert waiting.next_for(OTHER, [CPU, OTHER], 0) is near
    assert waiting.next_for(OTHER, [CPU, OTHER], 0) is far


def test_a_task_that_was_lost_waits_and_then_comes_first() -> None:
    waiting = task_queue(Task(0), Task(1))
    waiting.again(Task(2), not_before=10.0)
    first = waiting.next_for(CPU, [CPU], 0.0)
    second = waiting.next_for(CPU, [CPU], 11.0)
    assert first is not None
    assert second is not None
    assert (first.index, second.index, len(waiting)) == (0, 2, 1)


def test_a_broken_host_gets_nothing_and_two_end_the_batch() -> None:
    waiting = task_queue(*(Task(i) for i in range(4)))
    waiting.policy.note("a", "", InsufficientActivityError("silent", sorter="threshold"))
    assert waiting.next_for(CPU, [CPU, OTHER], 0) is not None
    waiting.policy.note("a", "", GPUUnavailableError("gone"))
    assert waiting.next_for(CPU, [CPU, OTHER], 0) is None
    assert waiting.next_for(OTHER, [CPU, OTHER], 0) is not None
    waiting.policy.note("b", "", GPUUnavailableError("gone"))
    assert waiting.policy.repeats("")
    assert not waiting.policy.may_start("c", "")
    assert len(waiting) == 2


def test_a_sorter_that_is_missing_bars_that_sorter_alone() -> None:
    waiting = task_queue(*(Task(i, "kilosort4") for i in range(3)), Task(3, "rt_sort"))
    waiting.policy.note("a", "kilosort4", GPUUnavailableError("gone"))
    task = waiting.next_for(CPU, [CPU, OTHER], 0)
    assert task is not None
    assert task.index == 3
    assert waiting.next_for(CPU, [CPU, OTHER], 0) is None
    assert waiting.hopeless([CPU, OTHER]) == []
    assert [task.index for task in waiting.hopeless([CPU])] == [0, 1, 2]
    assert len(waiting) == 0


@pytest.mark.parametrize("error", [ConcurrentSortError("in use"), FolderUnusableError("read-only")])
def test_a_folder_is_the_matter_of_one_recording(error: Exception) -> None:
    waiting = task_queue(Task(0, avoid={"a"}), Task(1))
    waiting.policy.note("a", "", error)
    task = waiting.next_for(CPU, [CPU, OTHER], 0)
    assert task is not None
    assert task.index == 1
    task = waiting.next_for(OTHER, [CPU, OTHER], 0)
    assert task is not None
    assert task.index == 0


@pytest.mark.parametrize("wants_gpu", [False, True])
@pytest.mark.parametrize("part", ["whole", "rest"])
def test_what_is_to_avoid_a_host_waits_for_another(wants_gpu: bool, part: Any) -> None:
    waiting = task_queue(Task(0, wants_gpu=wants_gpu, part=part, host="a", avoid={"a"}))
    for worker in (CPU, GPU):
        assert waiting.next_for(worker, [CPU, GPU, OTHER], 0) is None
    assert waiting.next_for(OTHER, [CPU, GPU, OTHER], 0) is not None


def test_each_gpu_is_seen_by_one_worker_alone() -> None:
    made = worker_specifications(2, ["0", "GPU-1234"])
    seen = {name: options.get("env", {}).get("CUDA_VISIBLE_DEVICES") for name, options in made.items()}
    assert seen == {"gpu-0": "0", "gpu-GPU-1234": "GPU-1234", "cpu-0": "", "cpu-1": ""}
    assert [options.get("resources") for options in made.values()] == [{"GPU": 1}, {"GPU": 1}, None, None]
    assert all(options["nthreads"] == 1 for options in made.values())
    assert "env" not in worker_specifications(1, [])["cpu-0"]
