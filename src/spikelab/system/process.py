"""Identity of a process beyond its number, which may be reused, or mean another process in a container."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc/self/stat")
STATE, START = 0, 19  # of the fields behind the command in /proc/PID/stat
ENDED = (b"Z", b"X")


@cache
def machine() -> str:
    """Name this machine since its start; host names alone may be given twice."""
    try:
        return f"{platform.node()} {Path('/proc/sys/kernel/random/boot_id').read_text(encoding='ascii').strip()}"
    except OSError:  # another system, or hidden
        return platform.node()


@cache
def pid_namespace() -> str:
    """Name the name space of process numbers: a container has its own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def this_process() -> dict[str, Any]:
    """Describe this process for :func:`is_running`; fits into JSON."""
    return {"pid": os.getpid(), "machine": machine(), "numbers": pid_namespace(), "started": started_at(os.getpid())}


def is_running(process: dict[str, Any]) -> bool | None:
    """Whether the process that :func:`this_process` described still runs; None where this cannot be found out here."""
    here = process.get("machine") == machine() and process.get("numbers") == pid_namespace()
    pid, started = process.get("pid"), process.get("started")
    if not here or started is None or not isinstance(pid, int):
        return None
    return bool(started_at(pid) == started)


def started_at(pid: int) -> float | None:
    """Return when a process was started, on Linux by a clock that is never set; None for a process that has ended."""
    if PROC.exists():
        try:
            fields = (PROC.parents[1] / f"{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[STATE] in ENDED else int(fields[START])
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time(), 2)
    except psutil.Error:
        return None


_CHANGING = threading.Lock()
_blocks, _ignored = 0, False


@contextmanager
def exit_codes_are_kept() -> Iterator[None]:
    """Keep the exit codes of children within the block, also where the caller ignores SIGCHLD.

    The system drops the exit codes of such a process's children, and Python takes every one for 0. ``signal.signal``
    works in the main thread only, so the interpreter's C function is called; the caller's handling is restored.
    """
    global _blocks, _ignored  # noqa: PLW0603 - of the process, like the signal
    number = getattr(signal, "SIGCHLD", None)
    if number is None:  # Windows
        yield
        return
    with _CHANGING:
        _blocks += 1
        if _blocks == 1:
            _ignored = _handling(number) == signal.SIG_IGN
        if _ignored:
            _handle(number, signal.SIG_DFL)
    try:
        yield
    finally:
        with _CHANGING:
            _blocks -= 1
            if _blocks == 0 and _ignored and _handling(number) == signal.SIG_DFL:
                _handle(number, signal.SIG_IGN)


def _handling(number: int) -> int:
    get = ctypes.pythonapi.PyOS_getsig
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.c_int]
    return int(get(number) or 0)


def _handle(number: int, handler: int) -> None:
    change = ctypes.pythonapi.PyOS_setsig
    change.restype, change.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    change(number, int(handler))
