"""Twenty processes of a batch are killed at random moments, and the same command is given again where the batch died.

Half of them with workers on this machine, whose client is the scheduler too; half with a scheduler and workers of their
own. The sorter runs in a supervised child, so that there is one more process to be killed. Afterwards every result must
be what an undisturbed run gives, to the byte; no stage that was ever finished may have been made again; and nothing may
be left: no process, no lock, no temporary file. ``SPIKELAB_KILLS`` sets another number of kills, ``SPIKELAB_SEED``
another seed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from simulated import save_recording, simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "stand_ins"))
from killable import Killable

pytest.importorskip("distributed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc")]

N_RECORDINGS = 12
SILENT = 5
KILLS = int(os.environ.get("SPIKELAB_KILLS", "20"))
SEED = int(os.environ.get("SPIKELAB_SEED", "0"))
LONGEST_S = 6.0  # between two kills
BIOLOGY, RESOURCES, ENVIRONMENT = 10, 12, 11

ENTRY_POINTS = "[spikelab.sorters]\nsupervised = supervised:SupervisedBackend\n"


class Machine(Killable):
    """Starts commands of a batch."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder, self.log = folder, folder / "output.txt"
        installed = folder / "supervised-1.dist-info"
        for made in (installed, folder / "recordings"):
            made.mkdir()
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: supervised\nVersion: 1\n")
        (installed / "entry_points.txt").write_text(ENTRY_POINTS)
        for seed in range(N_RECORDINGS):
            made_up = simulate(duration_s=3.0, seed=seed, n_units=0 if seed == SILENT else 5)
            save_recording(made_up.recording, folder / "recordings" / f"rec{seed:02d}")

    def start(self, *command: str) -> psutil.Popen:
        """Start ``python -m`` something."""
        with self.log.open("a") as log:
            return psutil.Popen(
                [sys.executable, "-m", *command], env=self.environment, cwd=self.folder, stdout=log, stderr=log
            )

    def batch(self, results: Path, *where: str) -> psutil.Popen:
        """Start a batch of all recordings."""
        path = results.with_suffix(".toml")
        config = "n_jobs = 1, total_memory = '1G', spikes_min_first = 5, spikes_min_second = 5, on_failure = 'skip'"
        path.write_text(
            f'[defaults]\nsorter = "supervised"\nresults = "{results}"\nconfig = {{ {config} }}\n'
            f'[[recording]]\nfile = "{self.folder}/recordings/rec*"\n'
        )
        return self.start("spikelab.cli", "batch", str(path), *where)

    def said(self) -> str:
        """The end of what commands said."""
        return self.log.read_text()[-4000:]


class Cluster:
    """A scheduler and two workers that live longer than a client; what died of them is started again."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.parts: dict[str, psutil.Popen] = {}
        self.arguments = ["--scheduler", f"tcp://127.0.0.1:{self.port}"]

    def start(self) -> None:
        """Start what is not there, as whoever runs the cluster would."""
        address = f"tcp://127.0.0.1:{self.port}"
        run = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")
        work = ("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard", "--death-timeout", "60")
        for name, command in (("scheduler", run), ("worker 1", work), ("worker 2", work)):
            if name not in self.parts or self.parts[name].poll() is not None:
                self.parts[name] = self.machine.start(*command)

    def end(self) -> None:
        """End all of it, in order."""
        for part in self.parts.values():
            part.terminate()
        for part in self.parts.values():
            part.wait(60)


class Here:
    """Workers that a client starts for itself."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.parts: dict[str, psutil.Popen] = {}
        self.arguments = ["--workers", "2"]

    def start(self) -> None:
        """Start nothing: the client does."""

    def end(self) -> None:
        """End nothing: the client does."""


@contextmanager
def stages_seen(results: Path) -> Iterator[dict[str, set[str]]]:
    """Watch the finished stages of a batch: which runs made each of them, while the block lasts."""
    seen: dict[str, set[str]] = defaultdict(set)
    over = threading.Event()

    def look() -> None:
        for path in results.glob("*/stages/*/manifest.json"):
            with suppress(OSError, ValueError):
                if not path.parent.name.startswith("."):
                    seen[f"{path.parents[2].name} {path.parent.name}"].add(json.loads(path.read_text())["run_id"])

    def watch() -> None:
        while not over.wait(0.1):
            look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        look()


def victims(client: psutil.Popen, place: Any) -> dict[str, list[psutil.Process]]:
    """Who can be killed now, by role."""
    found: dict[str, list[psutil.Process]] = {"client": [client]}
    for root in (client, *place.parts.values()):
        with suppress(psutil.Error):
            for process in root.children(recursive=True):
                command = " ".join(process.cmdline())
                if "spawn_main" in command:
                    found.setdefault("worker", []).append(process)
                elif "isolation.child_main" in command:
                    found.setdefault("sorter", []).append(process)
    for name, part in place.parts.items():
        found.setdefault("scheduler" if name == "scheduler" else "nanny", []).append(part)
    return found


def outcome(results: Path) -> dict[str, Any]:
    """What a recording gave: how it ended, and every byte of its arrays."""
    record = json.loads((results / "run.json").read_text())
    error = (record.get("error") or {}).get("class")
    arrays = {path.name: path.read_bytes() for path in sorted(results.glob("*.npz"))}
    return {"status": record["status"], "units": record.get("units"), "error": error, **arrays}


def outcomes(results: Path) -> dict[str, dict[str, Any]]:
    return {folder.name: outcome(folder) for folder in sorted(results.glob("sorted_supervised_rec*"))}


def reasons(results: Path) -> Counter[str]:
    """Why stages ran, from the logs of all runs."""
    found: Counter[str] = Counter()
    for log in results.glob("*/*.out"):
        for line in log.read_text().splitlines():
            if "INFO    stage " in line:
                found[line.partition(" once more (")[2].removesuffix(")") or "not done yet"] += 1
    return found


def wait_for_the_end(client: psutil.Popen, machine: Machine, place: Any, within_s: float = 300) -> int:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
            return int(client.wait(1))
        place.start()  # a worker may end a while after its scheduler
    client.kill()
    pytest.fail(f"the batch did not end: {machine.said()}")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("place_type", [Here, Cluster])
def test_a_batch_survives_whatever_is_killed(place_type: Any, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    undisturbed = tmp_path / "undisturbed"
    calm = Here(machine)
    code = wait_for_the_end(machine.batch(undisturbed, *calm.arguments), machine, calm)
    assert code == BIOLOGY, machine.said()
    expected = outcomes(undisturbed)
    assert len(expected) == N_RECORDINGS
    assert Counter(o["status"] for o in expected.values()) == {"done": N_RECORDINGS - 1, "biological failure": 1}

    place = place_type(machine)
    chance, killed, began = random.Random(SEED), Counter[str](), time.monotonic()
    number = 0
    while killed.total() < KILLS // 2:
        results = tmp_path / f"batch{number}"
        number += 1
        with stages_seen(results) as seen:
            commands = disturbed(machine, place, results, chance, killed)
        assert outcomes(results) == expected
        twice = {stage: runs for stage, runs in seen.items() if len(runs) > 1}
        assert not twice, f"made again although they were finished: {twice}"
        assert set(reasons(results)) == {"not done yet"}, reasons(results)
        assert not list(results.rglob(".*"))
        assert not list(results.rglob("intermediate"))
        print(f"batch {number}: {commands} commands, {len(seen)} stages, {reasons(results).total()} runs of stages")
    place.end()
    gone_by = time.monotonic() + 60
    while (left := machine.processes()) and time.monotonic() < gone_by:
        time.sleep(0.1)
    assert not left, machine.said()
    assert not list(machine.temporary.glob("spikelab-*"))
    print(f"{killed.total()} kills in {time.monotonic() - began:.0f} s: {dict(killed)}")


def disturbed(machine: Machine, place: Any, results: Path, chance: random.Random, killed: Counter[str]) -> int:
    """Do a batch while its processes are killed; returns how often the command was given."""
    commands = 0
    while True:
        place.start()
        client = machine.batch(results, *place.arguments)
        commands += 1
        while killed.total() < KILLS // 2:
            with suppress(psutil.TimeoutExpired, subprocess.TimeoutExpired):
                client.wait(chance.uniform(0, LONGEST_S))
                break
            found = victims(client, place)
            role = chance.choice(sorted(found))
            victim = chance.choice(sorted(found[role], key=lambda process: process.pid))
            with suppress(psutil.Error):
                victim.send_signal(signal.SIGKILL)
                killed[role] += 1
                print(f"{time.strftime('%H:%M:%S')} killed: {role} {victim.pid}", flush=True)
            with suppress(psutil.Error, subprocess.TimeoutExpired):
                victim.wait(10)  # so that it is started again, and not killed twice
            if role == "nanny":
                time.sleep(1)
            place.start()
        code = wait_for_the_end(client, machine, place)
        print(f"{time.strftime('%H:%M:%S')} the command ended with {code}", flush=True)
        assert code in (-signal.SIGKILL, BIOLOGY, ENVIRONMENT, RESOURCES), machine.said()
        if code == BIOLOGY:
            return commands
        assert commands < 5 * KILLS, machine.said()
