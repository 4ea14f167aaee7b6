"""Limits of containers and batch systems, from files as Linux has them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spikelab.system import resources
from spikelab.system.resources import available_cores, available_memory, core_quotas, memory_left

GB = 10**9
Files = dict[str, str]
Put = Callable[[str, dict[str, Files]], None]


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Stand in for /proc/self/cgroup, and for the files of groups by their path."""

    def write(membership: str, groups: dict[str, Files]) -> None:
        (tmp_path / "membership").write_text(membership)
        for group, files in groups.items():
            folder = tmp_path / "root" / group
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (folder / name).write_text(text + "\n")

    monkeypatch.setattr(resources, "ROOT", tmp_path / "root")
    monkeypatch.setattr(resources, "MEMBERSHIP", tmp_path / "membership")
    return write


def v2(limit: str, used: int = 400, cache: int = 100) -> Files:
    return {"memory.max": limit, "memory.current": str(used), "memory.stat": f"anon 300\ninactive_file {cache}"}


def v1(limit: int, used: int = 400, cache: int = 100) -> Files:
    return {
        "memory.limit_in_bytes": str(limit),
        "memory.usage_in_bytes": str(used),
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {cache}",
    }


def quota(microseconds: int) -> Files:
    return {"cpu.cfs_quota_us": str(microseconds), "cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("membership", "groups", "left"),
    [
        # In a container, whose root is its own group.
        ("0::/\n", {"": v2(str(GB))}, GB - 300),
        ("0::/\n", {"": v2("max")}, None),
        # A step of a job: its own group has no limit, that of the job around it has.
        ("0::/slurm/job_7/step_0\n", {"slurm/job_7/step_0": v2("max"), "slurm/job_7": v2(str(GB))}, GB - 300),
        # The least of several.
        ("0::/a/b\n", {"a/b": v2(str(3 * GB)), "a": v2(str(2 * GB), used=GB, cache=0), "": v2(str(9 * GB))}, GB),
        # Version 1, nested as SLURM does it.
        ("5:cpu:/\n4:memory:/slurm/uid_1/job_7/step_0\n0::/\n", {"memory/slurm/uid_1/job_7": v1(GB)}, GB - 300),
        # A container that is told the path of its host, which it does not see.
        ("4:memory:/docker/0123456789ab\n", {"memory": v1(GB)}, GB - 300),
        ("0::/../../elsewhere\n", {"": v2(str(GB))}, GB - 300),
        # Both versions side by side: limits are those of version 1.
        ("4:memory:/x\n0::/x\n", {"memory/x": v1(GB), "unified/x": {"cgroup.procs": ""}}, GB - 300),
        # Statistics that cannot be read cost their share only.
        ("0::/\n", {"": {"memory.max": str(GB), "memory.current": "400"}}, GB - 400),
        ("0::/\n", {}, None),
    ],
)
def test_memory_that_is_left(put: Put, membership: str, groups: dict[str, Files], left: int | None) -> None:
    put(membership, groups)
    assert min(memory_left(), default=None) == left
    assert 0 < available_memory() <= (left or 2**62)


@pytest.mark.parametrize(
    ("membership", "groups", "cores"),
    [
        ("0::/\n", {"": {"cpu.max": "max 100000"}}, None),
        ("0::/\n", {"": {"cpu.max": "100000 100000"}}, 1),
        ("0::/pod/box\n", {"pod/box": {"cpu.max": "max 100000"}, "pod": {"cpu.max": "50000 100000"}}, 0.5),
        (
            "3:cpu,cpuacct:/pod\n",
            {"cpu,cpuacct/pod": {"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"}},
            1.5,
        ),
        ("3:cpu,cpuacct:/pod\n", {"cpu/pod": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}}, None),
    ],
)
def test_quota_of_cpu_time(put: Put, membership: str, groups: dict[str, Files], cores: float | None) -> None:
    put(membership, groups)
    assert min(core_quotas(), default=None) == cores
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert available_cores() == (there if cores is None else min(there, 1 if cores <= 1 else 2))


def test_another_system_has_no_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "MEMBERSHIP", tmp_path / "none")
    assert (memory_left(), core_quotas()) == ([], [])
