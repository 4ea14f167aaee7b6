"""A batch as files: each job file sorts alone, the examples are valid and call it, and status tells how far all are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from spikelab.spike_sorting.batch import status
from spikelab.spike_sorting.batch.jobfile import read_job, write_batch, write_job
from spikelab.spike_sorting.batch.manifest import jobs_from_entries
from spikelab.spike_sorting.batch.plan import write_plan
from spikelab.spike_sorting.run.jobs import Job
from spikelab.spike_sorting.run.sort_one import Limits, run_the_sorter, sort_one
from spikelab.system.process import this_process

LOOSE = {"spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1}


@pytest.fixture
def jobs(saved: Callable[..., Path], tmp_path: Path) -> list[Job]:
    """A recording that can be sorted, and one that cannot."""
    saved("fine", duration_s=3.0)
    saved("silent", n_units=0, duration_s=3.0)
    return jobs_from_entries(
        [{"file": tmp_path / name, "sorter": "threshold", "config": LOOSE} for name in ("fine", "silent")],
        {"results": tmp_path / "results"},
    )


def test_a_job_file_has_all_of_a_job(jobs: list[Job], tmp_path: Path) -> None:
    write_job(jobs[0], tmp_path / "job.toml")
    assert read_job(tmp_path / "job.toml") == jobs[0]


@pytest.mark.parametrize("text", ["", "name = 1", "[", 'name = "x"\nrecording = "a"\nresults = "b"'])
def test_what_is_no_job_file_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(ValueError, match="is no job file: .*spikelab batch --plan"):
        read_job(tmp_path / "job.toml")


def test_the_array_script_sorts_a_job(jobs: list[Job], tmp_path: Path) -> None:
    """Run as SLURM would, without SLURM: bash, and the two variables that it sets."""
    folder = tmp_path / "plan"
    write_plan([jobs[1], jobs[0]], folder)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": "0", "SLURM_SUBMIT_DIR": str(folder)}
    done = subprocess.run(
        ["bash", str(folder / "slurm_array.sh")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 10, done.stderr
    assert "silent     nothing to sort" in done.stdout
    states = {row.name: row.state for row in status.folder_states(folder)}
    assert states == {"silent": "biological failure", "fine": "to come"}


def test_the_examples_ask_for_what_the_jobs_want(jobs: list[Job], tmp_path: Path) -> None:
    many = [replace(job, config=job.config.override(n_jobs=3, total_memory="4G")) for job in jobs]
    write_plan(many, tmp_path / "plan")
    pod = yaml.safe_load((tmp_path / "plan" / "kubernetes_job.yaml").read_text())
    assert pod["spec"]["completions"] == 2
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "3", "memory": "5Gi"}
    assert "spikelab sort-one" in container["args"][0]
    slurm = (tmp_path / "plan" / "slurm_array.sh").read_text()
    assert "--array=0-1%2" in slurm
    assert "--cpus-per-task=3\n#SBATCH --mem=5G" in slurm
    assert "gres" not in slurm
    on_gpu = [replace(job, config=job.config.override(sorter_name="kilosort2")) for job in jobs]
    write_plan(on_gpu, tmp_path / "plan")
    assert "--gres=gpu:1" in (tmp_path / "plan" / "slurm_array.sh").read_text()
    assert "nvidia.com/gpu" in (tmp_path / "plan" / "kubernetes_job.yaml").read_text()


@pytest.mark.parametrize("name", ["my plan", "x$(touch RUN)", "it's `touch RUN`", "$(JOB_COMPLETION_INDEX)"])
def test_scripts_run_in_a_folder_of_any_name(
    jobs: list[Job], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = tmp_path / name
    write_plan([replace(jobs[0], name="a b$(touch RUN){x}\n" + "long" * 60), jobs[1]], plan)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "spikelab").write_text('#!/bin/sh\nprintf "%s\\n" "$1" "$2"\n')
    (tools / "spikelab").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    (container,) = yaml.safe_load((plan / "kubernetes_job.yaml").read_text())["spec"]["template"]["spec"]["containers"]
    commands = {
        "JOB_COMPLETION_INDEX": [*container["command"], *container["args"]],
        "SLURM_ARRAY_TASK_ID": ["bash", str(plan / "slurm_array.sh")],
    }
    assert "$(" not in container["args"][0]
    for variable, command in commands.items():
        for index, job in enumerate(sorted((plan / "jobs").iterdir())):
            done = subprocess.run(
                command, env=environment | {variable: str(index)}, capture_output=True, text=True, check=True
            )
            assert done.stdout.splitlines() == ["sort-one", str(job)]
            assert len(os.fsencode(job.name)) < 200
    assert not list(tmp_path.rglob("RUN"))
    assert "{input:q}" in (plan / "Snakefile").read_text()


def test_one_pod_never_ends_the_others(jobs: list[Job], tmp_path: Path) -> None:
    write_plan(jobs, tmp_path / "plan")
    pods = yaml.safe_load((tmp_path / "plan" / "kubernetes_job.yaml").read_text())["spec"]
    rules = {code: rule["action"] for rule in pods["podFailurePolicy"]["rules"]
             for code in rule.get("onExitCodes", {}).get("values", ["evicted"])}  # fmt: skip
    assert rules == {2: "FailIndex", 3: "FailIndex", 10: "FailIndex", "evicted": "Ignore"}
    assert pods["backoffLimitPerIndex"] == 3


def test_a_job_waits_for_the_claim_of_one_that_was_killed(
    jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikelab.cli import _batch
    from spikelab.spike_sorting.run import alive

    write_job(jobs[0], tmp_path / "job.toml")
    note = jobs[0].results / ".spikelab.lock.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"pid": 1, "host": "spikelab-0-abcde"}))  # a pod was killed a moment ago
    monkeypatch.setattr(alive, "WATCH_S", 0.1)
    tries: list[float] = []

    def wait(seconds: float) -> None:
        tries.append(seconds)
        a_minute_earlier = note.stat().st_mtime - 60
        os.utime(note, (a_minute_earlier, a_minute_earlier))

    monkeypatch.setattr(_batch, "time", SimpleNamespace(monotonic=time.monotonic, sleep=wait))
    text, code = _batch.sort_job_in_turn(tmp_path / "job.toml")
    assert (code, tries) == (0, [_batch.AGAIN_S] * 2)
    assert not note.exists()
    note.write_text(json.dumps({"pid": 1, "host": "spikelab-0-abcde"}))
    monkeypatch.setattr(alive, "ENDS_WITHIN_S", 0.0)  # somebody holds it, and goes on doing so
    text, code = _batch.sort_job_in_turn(tmp_path / "job.toml")
    assert (code, len(tries)) == (11, 2)
    assert "cannot run here" in text
    assert note.exists()


def test_a_new_plan_leaves_no_job_of_the_old_one(jobs: list[Job], tmp_path: Path) -> None:
    write_plan(jobs, tmp_path / "plan")
    write_plan(jobs[:1], tmp_path / "plan")
    assert [path.name for path in (tmp_path / "plan" / "jobs").iterdir()] == ["0_fine.toml"]


def test_a_job_in_two_tasks_is_the_same_to_the_byte(jobs: list[Job], tmp_path: Path) -> None:
    """The sorter's part ends after the second stage; the rest goes on from there and loads what is done."""
    job = jobs[0]
    whole = replace(job, results=tmp_path / "whole", intermediate=tmp_path / "whole" / "intermediate")
    sort_one(whole)
    run_the_sorter(job, Limits(cores=1, memory=2**30))
    record = json.loads((job.results / "run.json").read_text())
    assert (record["status"], list(record["stages"])) == ("sorted", ["recording", "sorting"])
    assert status.job_state("fine", job.results).state == "sorted"
    assert (job.intermediate / "recording" / "traces.dat").exists()
    sort_one(job)
    record = json.loads((job.results / "run.json").read_text())
    assert (record["status"], record["stages"]["sorting"]["loaded"]) == ("done", True)
    assert not job.intermediate.exists()
    for name in ("sorted.npz", "sorted_spikedata_curated.npz"):
        assert (job.results / name).read_bytes() == (whole.results / name).read_bytes()


def test_status_tells_a_killed_run_from_one_that_runs(jobs: list[Job], tmp_path: Path) -> None:
    write_batch(jobs, tmp_path / "overview")
    results = jobs[0].results
    results.mkdir(parents=True)
    record = {
        "status": "running",
        "stage": "sorting",
        "attempts": [{}],
        "process": this_process(),
        "started": status.datetime.now().astimezone().strftime("%Y-%m-%dT%H:%M:%S%z"),
    }

    def state(**process: object) -> str:
        (results / "run.json").write_text(json.dumps({**record, "process": {**this_process(), **process}}))
        return status.job_state("fine", results).state

    (results / "run.json").write_text(json.dumps(record))
    (row, other) = status.folder_states(tmp_path / "overview")
    assert (row.state, row.stage, row.attempts, other.state) == ("running", "sorting", 1, "to come")
    assert status.cells(row)[:3] == ("fine", "running: sorting", "1")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert state(pid=gone.pid) == "killed"
    assert state(started=1) == "killed"  # the number is another process's by now
    assert state(machine="another") == "killed"
    note = results / ".spikelab.lock.json"
    note.write_text("{}")
    assert state(machine="another") == "running"
    assert state(numbers="of a container, where every run is process 1", pid=1) == "running"
    assert state(started=1) == "killed"
    a_day_ago = note.stat().st_mtime - 86400
    os.utime(note, (a_day_ago, a_day_ago))
    assert state(machine="another") == "killed"
    assert state() == "running"  # it may be held up for as long as it likes
    with pytest.raises(FileNotFoundError, match="nothing was sorted in"):
        status.folder_states(jobs[1].recording_input)


def test_the_estimate_goes_by_the_pace_so_far() -> None:
    def row(state: str, seconds: float | None) -> status.Row:
        return status.Row("x", state, Path(), attempts=1, seconds=seconds)

    rows = [row("done", 100.0), row("done", 200.0), row("running", 50.0), *[row("to come", None)] * 3]
    assert status.estimate(rows, workers=2) == (3 * 150 + 100) / 2
    assert status.summary(rows, 2) == "2 done, 1 running, 3 to come; about 4 min 35 s left"
    assert status.estimate(rows[:2]) is None
