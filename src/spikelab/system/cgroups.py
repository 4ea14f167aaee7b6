"""Limits that a container or a batch system sets for this process: control groups of Linux, versions 1 and 2.

A limit may be set for the group of this process, or for any group around it; the lowest limit holds. In a container
without a name space of its own ``/proc/self/cgroup`` names a path that does not exist there, and the container's group
is mounted as the root: the root is read last.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")  # lines of "number:controllers:path"; version 2 names no controllers
UNIFIED = "unified"  # where version 2 is mounted beside version 1


@dataclass(frozen=True)
class _Memory:
    """Names of the files of one version, and of the entry in its statistics that counts cached files."""

    limit: str
    usage: str
    cache: str


MEMORY = (
    _Memory("memory.max", "memory.current", "inactive_file"),
    _Memory("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def memory_left() -> list[int]:
    """Return the bytes left under each limit; cached files count as free, since the system drops them on demand."""
    left = []
    for group in _groups("memory"):
        for names in MEMORY:
            try:
                limit, usage = (int(_read(group / name)) for name in (names.limit, names.usage))
            except (OSError, ValueError):  # no limit ("max"), or not of this version
                continue
            left.append(limit - usage + _cached(group / "memory.stat", names.cache))
    return left


def cores() -> list[float]:
    """Return each quota of CPU time in cores."""
    found = []
    for group in _groups("cpu"):
        try:
            quota, period = _quota(group)
        except (OSError, ValueError):  # no quota ("max"), or another system
            continue
        if quota > 0 and period > 0:
            found.append(quota / period)
    return found


def _quota(group: Path) -> tuple[int, int]:
    if (group / "cpu.max").exists():
        quota, period = _read(group / "cpu.max").split()
        return int(quota), int(period)
    return int(_read(group / "cpu.cfs_quota_us")), int(_read(group / "cpu.cfs_period_us"))


def _groups(controller: str) -> Iterator[Path]:
    """List the groups of this process that can have limits of `controller`, innermost first."""
    seen: set[Path] = set()
    for mount, path in _memberships(controller):
        inside = [part for part in Path(path).parts if part not in ("/", "..")]
        for depth in range(len(inside), -1, -1):
            group = mount.joinpath(*inside[:depth])
            if group not in seen:
                seen.add(group)
                yield group


def _memberships(controller: str) -> Iterator[tuple[Path, str]]:
    """List where groups of `controller` are mounted, with the path of this process's group."""
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # another system
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield ROOT, path
            yield ROOT / UNIFIED, path
        elif controller in controllers.split(","):
            yield ROOT / controller, path
            yield ROOT / controllers, path


def _cached(path: Path, name: str) -> int:
    try:
        values = dict(line.split(maxsplit=1) for line in _read(path).splitlines())
        return int(values[name])
    except (OSError, ValueError, KeyError):
        return 0


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii").strip()
