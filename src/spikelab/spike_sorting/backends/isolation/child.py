"""Run a sorter in a process of its own, so that a crash, an OOM kill or a hang is an error and a log.

The child is a fresh interpreter (no fork) in a session of its own; it reads a job file, leaves its spikes or its error
in a folder, and writes all it says to one log. Its temporary files are in that folder too. It ends with all that it
started: on a time-out or Ctrl-C it is asked first, so that it can clean up, and killed if it does not listen; when its
parent disappears it ends its tree itself. A container that it started belongs to a daemon; :mod:`._container` ends it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from spikelab.spike_sorting._exceptions import SorterTimeoutError
from spikelab.system import files as _files
from spikelab.system.process import exit_codes_are_kept, machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

logger = logging.getLogger(__name__)

JOB_FILE, ERROR_FILE, RESULT_FILE, LOG_FILE = "job.json", "error.json", "spikes.npz", "sorter.log"
POLL_S = 0.5
LOOK_S = 0.02
HEARTBEAT_S = 30.0
GRACE_S = 5.0  # to clean up, between being asked to end and being killed
TEMPORARY, TEMPORARY_PREFIX = "tmp", "spikelab-"
MARK = "SPIKELAB_SORT"  # variable in the environment of all that the child starts: who left its tree is found by it
TEMPORARY_VARIABLES = ("TMPDIR", "TEMP", "TMP")  # the last two are Windows'
IDLE_CPU_SHARE = 0.02  # of one core; an idle interpreter uses less
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


class SorterProcessError(RuntimeError):
    """The sorter's process failed.

    Attributes
    ----------
    exit_code : int or None
        Negative: the signal that ended it.
    error_type : str or None
        Class of the exception in the child, where there was one.
    log_path : Path or None
        All that the child printed.
    """

    def __init__(
        self,
        message: str,
        exit_code: int | None = None,
        error_type: str | None = None,
        log_path: Path | None = None,
    ) -> None:
        super().__init__(message, exit_code, error_type, log_path)
        self.message = message
        self.exit_code = exit_code
        self.error_type = error_type
        self.log_path = log_path

    def __str__(self) -> str:
        return self.message


def run_in_child(
    job: Mapping[str, Any],
    folder: Path,
    log_path: Path,
    timeout_s: float | None,
    *,
    n_threads: int = 1,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run `job` in a child process and wait for it.

    Parameters
    ----------
    job : mapping
        JSON-able. ``sorter`` names it in messages; ``target`` ("module:function") is called in the child with the
        job and the folder and returns :class:`SpikeTrains`; the rest is up to the target.
    folder : Path
        Gets ``job.json``, then ``spikes.npz`` or ``error.json``; old ones are removed.
    log_path : Path
        Gets the child's output. Keep it out of folders that the sorter may delete.
    timeout_s : float or None
        Seconds without output, growing files in `folder`, or CPU use after which the child is ended; None = never.
    n_threads : int
        Threads that numerical libraries of the child may use.
    environment : mapping, optional
        Further environment variables for the child.

    Raises
    ------
    SorterProcessError
        If the child raised, crashed, or was killed; the message has its error and the end of the log.
    SorterTimeoutError
        If it showed no sign of life for `timeout_s`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ERROR_FILE, RESULT_FILE):
        (folder / name).unlink(missing_ok=True)
    job_path = folder / JOB_FILE
    job_path.write_text(json.dumps({**job, "folder": str(folder), "parent_pid": os.getpid()}), encoding="utf-8")
    command = [sys.executable, "-m", "spikelab.spike_sorting.backends.isolation.child_main", str(job_path)]
    sorter = str(job["sorter"])
    process: psutil.Popen | None = None
    members: dict[int, psutil.Process] = {}
    with exit_codes_are_kept(), _own_temporary_files(folder) as temporary:
        # No other run has this mark. A container is stopped by its engine, which must find it running.
        mark = None if job.get("container") else str(temporary)
        variables = {**dict.fromkeys(TEMPORARY_VARIABLES, str(temporary)), **(environment or {})}
        if mark is not None:
            variables[MARK] = mark
        try:
            with log_path.open("wb") as log:
                process = psutil.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_environment(n_threads, variables),
                    **_own_group(),
                )
            _wait(process, _Watch(sorter, process, folder, log_path, timeout_s, members))
        finally:
            if process is not None:
                end_tree(process, members.values(), mark)
            with suppress(OSError):  # a full disk: the log stays as it is, and what happened is raised
                _clean_log(log_path)
        exit_code = int(process.wait())
    if exit_code != 0 or not (folder / RESULT_FILE).is_file():
        raise _error(sorter, exit_code, folder / ERROR_FILE, log_path)


@contextmanager
def _own_temporary_files(folder: Path) -> Iterator[Path]:
    """Name a folder inside `folder` for temporary files; emptied with it, however the child ends.

    The name is a short link where the system has them: sockets must have a path of less than about 100 characters.
    """
    inside = folder / TEMPORARY
    inside.mkdir(exist_ok=True)
    base, ours = Path(tempfile.gettempdir()), f"{TEMPORARY_PREFIX}{_view()}-"
    for old in base.glob(ours + "*"):
        with suppress(OSError):  # left by a run that was killed: its folder is gone, or it is this one
            if old.is_symlink() and (not old.exists() or old.readlink() == inside.absolute()):
                old.unlink()
    link = base / f"{ours}{uuid.uuid4().hex[:12]}"
    try:
        link.symlink_to(inside.absolute(), target_is_directory=True)
    except OSError:  # Windows, without the right to
        link = inside
    try:
        yield link
    finally:
        if link.is_symlink():
            link.unlink()
        shutil.rmtree(inside, ignore_errors=True)


@cache
def _view() -> str:
    """Name the files that this process can see: a link that leads nowhere here may be in use in another container."""
    try:
        files = str(Path("/proc/self/ns/mnt").readlink())
    except OSError:
        files = ""
    return hashlib.blake2b(f"{machine()} {files}".encode(), digest_size=3).hexdigest()


def end_tree(process: psutil.Popen, seen: Iterable[psutil.Process] = (), mark: str | None = None) -> None:
    """End `process` and everything it started, and wait until they are gone.

    The process itself is asked first, and has `GRACE_S` to clean up; then all are killed, also those in `seen` that
    have left the tree since, and those that were started unseen and have the `mark` in their environment. Only then is
    it waited for: its number, which is also its group's, is given to nobody else before.
    """
    victims = [*_tree(process), *seen]
    try:
        if not has_ended(process):
            process.terminate()
            has_ended(process, within_s=GRACE_S)
    except psutil.Error:
        pass  # it is gone
    finally:  # also where a second Ctrl-C cuts the wait short
        victims += frozen_tree(process)
        kill(None if was_waited_for(process) else process.pid, victims)
        victims += kill_marked(mark)
    psutil.wait_procs([victim for victim in victims if victim.pid != process.pid], timeout=10)
    with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):  # stuck in the kernel: nothing more to be done
        process.wait(timeout=10)


def has_ended(process: psutil.Popen, within_s: float = 0.0) -> bool:
    """Whether `process` ends within a time. Where the system allows, it is only looked at, so that its number stays."""
    end = time.monotonic() + within_s
    while not _is_over(process):
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(LOOK_S, left))
    return True


def _is_over(process: psutil.Popen) -> bool:
    if was_waited_for(process):
        return True
    if not hasattr(os, "waitid"):  # Windows and an older macOS
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return process.poll() is not None


def was_waited_for(process: psutil.Popen) -> bool:
    """Whether the number of `process` may be another process's by now."""
    return process.returncode is not None


def frozen_tree(process: psutil.Process) -> list[psutil.Process]:
    """Stop and list `process` and everything it started, but this process: what is stopped starts nothing more."""
    frozen: dict[int, psutil.Process] = {}
    while new := [member for member in _tree(process) if member.pid not in {*frozen, os.getpid()}]:
        for member in new:
            with suppress(psutil.Error):
                member.suspend()
            frozen[member.pid] = member
    return list(frozen.values())


def kill_marked(mark: str | None) -> list[psutil.Process]:
    """Kill and return whatever has `mark` in its environment, but this process; again until nothing new is there."""
    killed: dict[int, psutil.Process] = {}
    while mark is not None:
        new = [process for process in psutil.process_iter() if process.pid not in killed and _has_mark(process, mark)]
        if not new:
            break
        for process in new:
            with suppress(psutil.Error):
                process.kill()
            killed[process.pid] = process
    return list(killed.values())


def _has_mark(process: psutil.Process, mark: str) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):  # of another user, or gone
        return False


def kill(group: int | None, victims: Iterable[psutil.Process]) -> None:
    """Kill a group of processes, where it has not ended, and whoever of `victims` is left."""
    if group is not None and hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # raised where nobody is left
            os.killpg(group, signal.SIGKILL)  # also reaches grandchildren whose own parent has ended
    for victim in victims:
        with suppress(psutil.Error):
            victim.kill()


@dataclass
class _Watch:
    """Looks for signs of life: output, growing files, CPU time."""

    sorter: str
    process: psutil.Popen
    folder: Path
    log_path: Path
    timeout_s: float | None
    members: dict[int, psutil.Process]  # every process of the tree that was ever seen

    def __post_init__(self) -> None:
        self.start = self.last_life = self.last_beat = time.monotonic()
        self.bytes_then, self.cpu_then, self.peak_bytes = 0, 0.0, 0

    def look(self) -> None:
        """Note signs of life, say now and then that work goes on; SorterTimeoutError after too long a silence."""
        now = time.monotonic()
        tree = _tree(self.process)
        self.members.update((member.pid, member) for member in tree)
        cpu, memory = _usage(tree)
        self.peak_bytes = max(self.peak_bytes, memory)
        if now - self.last_beat >= HEARTBEAT_S:
            self.last_beat = now
            logger.info(
                "%s: %.0f s, %.1f GiB; %s",
                self.sorter,
                now - self.start,
                memory / 2**30,
                _last_line(self.log_path) or "no output yet",
            )
        if self.timeout_s is None:
            return
        n_bytes = self._bytes()
        busy = abs(cpu - self.cpu_then) > IDLE_CPU_SHARE * (now - self.last_life) + 0.05
        if n_bytes != self.bytes_then or busy:
            self.last_life, self.bytes_then, self.cpu_then = now, n_bytes, cpu
        if now - self.last_life > self.timeout_s:
            raise SorterTimeoutError(
                f"{self.sorter} was ended after {self.timeout_s:g} s without output or CPU use. Check the last lines "
                f"of {self.log_path}, then whether GPU, container or network drive hang; raise sorter_timeout_s if it "
                f"was only slow. Last line: {_last_line(self.log_path) or '(none)'}",
                sorter=self.sorter,
                timeout_s=self.timeout_s,
                log_path=self.log_path,
            )

    def _bytes(self) -> int:
        """Output and files so far; a container's processes are not ours, but its files grow here."""
        return _size(self.log_path) + sum(_size(path) for path in self.folder.rglob("*"))


def _wait(process: psutil.Popen, watch: _Watch) -> None:
    while not has_ended(process, within_s=POLL_S):
        watch.look()
    seconds = time.monotonic() - watch.start
    logger.info("%s ended after %.1f s, peak memory %.2f GiB", watch.sorter, seconds, watch.peak_bytes / 2**30)


def _environment(n_threads: int, further: Mapping[str, str]) -> dict[str, str]:
    plain = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONFAULTHANDLER": "1",  # a segmentation fault leaves a traceback in the log
        "TQDM_DISABLE": "1",  # no bars in a log
        "MPLBACKEND": "Agg",
    }
    return {**os.environ, **plain, **dict.fromkeys(THREAD_VARIABLES, str(n_threads)), **further}


def _own_group() -> dict[str, Any]:
    """Apart from the parent's group: Ctrl-C reaches the parent alone, which then ends the child in order."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _usage(tree: Iterable[psutil.Process]) -> tuple[float, int]:
    """CPU seconds and resident bytes of the child and its descendants."""
    cpu, memory = 0.0, 0
    for member in tree:
        try:
            times = member.cpu_times()
            cpu += times.user + times.system
            memory += member.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return cpu, memory


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # removed meanwhile
        return 0


def _last_line(log_path: Path) -> str:
    lines = _tail(log_path, 4096).replace("\r", "\n").splitlines()
    return next((line.strip()[:200] for line in reversed(lines) if line.strip()), "")


def _tail(path: Path, n_bytes: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, _size(path) - n_bytes))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _clean_log(log_path: Path) -> None:
    """Of lines that were drawn over and over (progress bars) keep what was there last."""
    text = log_path.read_bytes()
    if b"\r" not in text:
        return
    lines = [line.rstrip(b"\r").rpartition(b"\r")[2] for line in text.split(b"\n")]
    with _files.replacing(log_path) as temporary:
        temporary.write_bytes(b"\n".join(lines))


def _error(sorter: str, exit_code: int, error_path: Path, log_path: Path) -> SorterProcessError:
    """Tell what happened, from the child's own account where it left one."""
    if error_path.is_file():
        error = json.loads(error_path.read_text(encoding="utf-8"))
        logger.debug("%s", error["traceback"])
        message = f"{sorter} failed with {error['type']}: {error['message']}\nIts log is {log_path}"
        return SorterProcessError(message, exit_code, error["type"], log_path)
    end = "\n".join(_tail(log_path, 4096).splitlines()[-15:])
    message = f"{sorter} {_reason(exit_code)}. Its log is {log_path} and ends with:\n{end}"
    return SorterProcessError(message, exit_code, None, log_path)


def _reason(exit_code: int) -> str:
    if exit_code in (-9, 137):
        return (
            f"was killed by SIGKILL (exit code {exit_code}); if nobody did that by hand, the operating system did "
            "because the host ran out of memory"
        )
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = f"signal {-exit_code}"
        return f"crashed with {name} (exit code {exit_code})"
    if exit_code == 0:
        return "ended without a result (exit code 0)"
    return f"ended with exit code {exit_code}"


def run_folder_of(output_folder: Path) -> Path:
    """Where :func:`run_folder` makes it."""
    return (Path(output_folder) / "run").resolve()


def run_folder(output_folder: Path) -> Path:
    """Make a fresh folder for the files of one run inside `output_folder`; the log stays outside of it."""
    folder = run_folder_of(output_folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
