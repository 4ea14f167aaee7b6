"""Run a sorter in a process of its own, so that a crash, an OOM kill or a hang is an error and a log.

The child is a fresh interpreter (no fork) in a session of its own; it reads a job file, leaves its spikes or its error
in a folder, and writes all output to one log. It ends with everything that it started: on a time-out or Ctrl-C it gets
SIGTERM, so that it can clean up, and is killed if it does not end; when its parent disappears it ends its tree itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from spikelab.spike_sorting.backends.isolation import temporary
from spikelab.spike_sorting.backends.isolation.end import MARK, end_tree
from spikelab.spike_sorting.backends.isolation.error import process_error
from spikelab.spike_sorting.backends.isolation.watch import Watch
from spikelab.system import files
from spikelab.system.process import exit_codes_are_kept

if TYPE_CHECKING:
    from collections.abc import Mapping

JOB_FILE, ERROR_FILE, RESULT_FILE, LOG_FILE = "job.json", "error.json", "spikes.npz", "sorter.log"
CHILD = "spikelab.spike_sorting.backends.isolation.child_main"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)
VARIABLES = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONFAULTHANDLER": "1",  # a segmentation fault leaves a traceback in the log
    "TQDM_DISABLE": "1",  # no bars in a log
    "MPLBACKEND": "Agg",
}
# The child is not in this process' group: Ctrl-C reaches this process alone, which then ends the child.
OWN_GROUP: dict[str, Any] = {"start_new_session": True}
if sys.platform == "win32":
    OWN_GROUP = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}


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
        JSON-able. ``sorter`` is its name in messages; ``target`` ("module:function") is called in the child with the
        job and the folder and returns :class:`SpikeTrains`; the rest is up to the target.
    folder : Path
        Gets ``job.json``, then ``spikes.npz`` or ``error.json``; old ones are removed.
    log_path : Path
        Gets the child's output; outside of folders that the sorter may delete.
    timeout_s : float or None
        Seconds without a sign of life after which the child is ended (SorterTimeoutError); None for never.
    n_threads : int
        Threads that numerical libraries of the child may use.
    environment : mapping, optional
        Further environment variables of the child.

    Raises
    ------
    SorterProcessError
        If the child raised, crashed, or was killed; the message has its error and the end of the log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ERROR_FILE, RESULT_FILE):
        (folder / name).unlink(missing_ok=True)
    job_path = folder / JOB_FILE
    job_path.write_text(json.dumps({**job, "folder": str(folder), "parent_pid": os.getpid()}), encoding="utf-8")
    command = [sys.executable, "-m", CHILD, str(job_path)]
    sorter = str(job["sorter"])
    process: psutil.Popen | None = None
    members: dict[int, psutil.Process] = {}
    with exit_codes_are_kept(), temporary.temporary_folder(folder) as own_folder:
        # No other run has this mark. A container is stopped by its engine, which must find it running.
        mark = None if job.get("container") else str(own_folder)
        variables = {**dict.fromkeys(temporary.VARIABLES, str(own_folder)), **(environment or {})}
        if mark is not None:
            variables[MARK] = mark
        try:
            with log_path.open("wb") as log:
                process = psutil.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **VARIABLES, **dict.fromkeys(THREAD_VARIABLES, str(n_threads)), **variables},
                    **OWN_GROUP,
                )
            Watch(sorter, process, folder, log_path, timeout_s, members).wait()
        finally:
            if process is not None:
                end_tree(process, members.values(), mark)
            with suppress(OSError):  # a full disk: the log stays as it is, and what happened is raised
                clean_log(log_path)
        exit_code = int(process.wait())
    if exit_code != 0 or not (folder / RESULT_FILE).is_file():
        raise process_error(sorter, exit_code, folder / ERROR_FILE, log_path)


def run_folder_of(output_folder: Path) -> Path:
    """Name the folder that :func:`run_folder` makes."""
    return (Path(output_folder) / "run").resolve()


def run_folder(output_folder: Path) -> Path:
    """Make a fresh folder for the files of one run inside `output_folder`; the log stays outside of it."""
    folder = run_folder_of(output_folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def clean_log(path: Path) -> None:
    """Keep the last state of lines that were drawn over and over (progress bars)."""
    text = path.read_bytes()
    if b"\r" in text:
        lines = [line.rstrip(b"\r").rpartition(b"\r")[2] for line in text.split(b"\n")]
        with files.replacing(path) as temporary_path:
            temporary_path.write_bytes(b"\n".join(lines))
