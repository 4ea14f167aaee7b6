"""End a process and everything that it started, which is found by four means.

- the *group*: grandchildren whose own parent has ended, so that no tree leads to them;
- the *tree*, stopped before it is killed: a process that starts others while its tree is being killed starts no more;
- the processes *seen* in the tree while it ran: members that have left group and tree;
- the *mark* in the environment, which every descendant inherits: daemons that were started unseen.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

POLL_S = 0.02
GRACE_S = 5.0  # to clean up, between SIGTERM and SIGKILL
GONE_WITHIN_S = 10
MARK = "SPIKELAB_SORT"  # environment variable that holds the mark


def end_tree(process: psutil.Popen, seen: Iterable[psutil.Process] = (), mark: str | None = None) -> None:
    """End `process` and everything that it started, and wait until all are gone.

    The process itself gets SIGTERM, and `GRACE_S` to clean up; then all are killed, with the processes `seen` in the
    tree and those with the `mark`. Only then is the process reaped: until then no other process gets its number, which
    is also that of its group.
    """
    victims = [*tree(process), *seen]
    try:
        if not has_ended(process):
            process.terminate()
            has_ended(process, within_s=GRACE_S)
    except psutil.Error:
        pass  # it is gone
    finally:  # also where a second Ctrl-C cuts the wait short
        victims += frozen_tree(process)
        kill(None if was_reaped(process) else process.pid, victims)
        victims += kill_marked(mark)
    psutil.wait_procs([victim for victim in victims if victim.pid != process.pid], timeout=GONE_WITHIN_S)
    with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):  # stuck in the kernel: nothing more to be done
        process.wait(timeout=GONE_WITHIN_S)


def has_ended(process: psutil.Popen, within_s: float = 0.0) -> bool:
    """Wait for the end of `process`, up to a time; where the system allows, without reaping it: its number stays."""
    end = time.monotonic() + within_s
    while not _is_over(process):
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(POLL_S, left))
    return True


def _is_over(process: psutil.Popen) -> bool:
    if was_reaped(process):
        return True
    if not hasattr(os, "waitid"):  # Windows and an older macOS
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return process.poll() is not None


def was_reaped(process: psutil.Popen) -> bool:
    """Tell whether the number of `process` may be another process's by now."""
    return process.returncode is not None


def tree(process: psutil.Process) -> list[psutil.Process]:
    """List `process` and its descendants; empty where it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def frozen_tree(process: psutil.Process) -> list[psutil.Process]:
    """Stop and list `process` and its descendants, but this process: stopped processes start no others."""
    frozen: dict[int, psutil.Process] = {}
    while new := [member for member in tree(process) if member.pid not in {*frozen, os.getpid()}]:
        for member in new:
            with suppress(psutil.Error):
                member.suspend()
            frozen[member.pid] = member
    return list(frozen.values())


def kill(group: int | None, victims: Iterable[psutil.Process]) -> None:
    """Kill a group of processes, unless its number is unknown, and those of `victims` that are left."""
    if group is not None and hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # raised where nobody is left
            os.killpg(group, signal.SIGKILL)
    for victim in victims:
        with suppress(psutil.Error):
            victim.kill()


def kill_marked(mark: str | None) -> list[psutil.Process]:
    """Kill and return all processes with `mark` in their environment, but this one; again until no new one is there."""
    killed: dict[int, psutil.Process] = {}
    while mark is not None:
        new = [process for process in psutil.process_iter() if process.pid not in killed and _has_mark(process, mark)]
        if not new:
            break
        kill(None, new)
        killed.update((process.pid, process) for process in new)
    return list(killed.values())


def _has_mark(process: psutil.Process, mark: str) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):  # of another user, or gone
        return False
