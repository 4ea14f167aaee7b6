"""Run a job in the child that :mod:`.start` starts: ``python -m ...backends.isolation.child_main job.json``."""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.backends.isolation.container import DOCKER, SINGULARITY, remove_containers
from spikelab.spike_sorting.backends.isolation.end import MARK, frozen_tree, kill, kill_marked
from spikelab.spike_sorting.backends.isolation.start import ERROR_FILE, RESULT_FILE
from spikelab.spike_sorting.backends.isolation.temporary import remove_own_link
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Callable

PARENT_POLL_S = 0.5


def main(job_path: Path) -> int:
    """Run the job; returns 0 with ``spikes.npz``, or 1 with ``error.json``."""
    job = json.loads(job_path.read_text(encoding="utf-8"))
    signal.signal(signal.SIGTERM, _leave)
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the caller may ignore it, and children inherit that
    threading.Thread(target=_end_with_parent, args=(job,), daemon=True).start()
    folder = Path(job["folder"])
    try:
        module, name = job["target"].split(":")
        target: Callable[[dict[str, Any], Path], SpikeTrains] = getattr(importlib.import_module(module), name)
        trains = target(job, folder)
        with files.replacing(folder / RESULT_FILE) as temporary:
            trains.save(temporary)
    except Exception as error:  # noqa: BLE001 - the parent raises every error
        traceback.print_exc()
        _write_error(error, folder / ERROR_FILE)
        return 1
    return 0


def _leave(signal_number: int, _: object) -> None:
    """End in order on SIGTERM, so that the sorter can clean up."""
    sys.exit(128 + signal_number)


def run_spikeinterface(job: dict[str, Any], folder: Path) -> SpikeTrains:
    """Run a sorter of SpikeInterface on the binary recording: the usual target of a job."""
    from spikeinterface.sorters import run_sorter

    _seed_everything(job["seed"])
    binary = BinaryRecording.from_dict(Path(job["recording_path"]), job["recording"])
    container = job["container"] or {"engine": None, "image": False}
    sorting = run_sorter(
        job["sorter"],
        binary.to_spikeinterface(),
        folder=folder / "sorter",
        remove_existing_folder=True,
        verbose=True,
        docker_image=container["image"] if container["engine"] == DOCKER else False,
        singularity_image=container["image"] if container["engine"] == SINGULARITY else False,
        **job["params"],
    )
    return SpikeTrains.from_spikeinterface(sorting)


def _seed_everything(seed: int) -> None:
    """Seed the generators that a sorter forgets to seed; this process runs nothing else."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what the sorters use
    unseeded = np.random.default_rng
    new_seed = seed

    def default_rng(seed: Any = None) -> np.random.Generator:
        return unseeded(new_seed if seed is None else seed)

    np.random.default_rng = default_rng


def _write_error(error: BaseException, path: Path) -> None:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    account = {"type": name, "message": str(error), "traceback": traceback.format_exc()}
    files.write_text(path, json.dumps(account))


def _end_with_parent(job: dict[str, Any]) -> None:
    """End this process, all descendants and its container when the parent is gone.

    Linux could send a signal by itself (PR_SET_PDEATHSIG), but to this process alone, which would orphan MATLAB and
    workers, and already when the *thread* ends that started it.
    """
    while _is_alive(job["parent_pid"]):
        time.sleep(PARENT_POLL_S)
    remove_own_link()
    if job.get("container"):
        remove_containers(job["container"]["engine"], Path(job["folder"]))
    _end_own_tree()
    os._exit(1)


def _end_own_tree() -> None:
    """Kill this process and all descendants.

    A fork does it: the fork can stop this process first, so that nothing new is started while the rest is killed.
    """
    import psutil

    this = psutil.Process()
    if not hasattr(os, "fork"):
        for descendant in this.children(recursive=True):
            with suppress(psutil.Error):
                descendant.kill()
        return
    if os.fork() == 0:
        os.setsid()
        kill(this.pid, frozen_tree(this))
        kill_marked(os.environ.get(MARK))
        os._exit(0)
    time.sleep(60)


def _is_alive(parent_pid: int) -> bool:
    if sys.platform == "win32":
        import psutil

        return bool(psutil.pid_exists(parent_pid))
    return os.getppid() == parent_pid


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
