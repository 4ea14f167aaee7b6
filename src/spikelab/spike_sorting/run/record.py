"""``run.json``, the record of a run: its fields, how it is written, and how it is read without trust in its content."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import BiologicalSortFailure, EnvironmentSortFailure, ResourceSortFailure
from spikelab.spike_sorting.stages.store import now
from spikelab.system import files
from spikelab.system.json_files import readable
from spikelab.system.process import this_process
from spikelab.system.texts import brief, read_json_object

if TYPE_CHECKING:
    from spikelab.spike_sorting.run.jobs import Job
    from spikelab.spike_sorting.stages import StageResult

RUN_RECORD = "run.json"
NUMBER = int | float | None
DONE, RUNNING, KILLED, INTERRUPTED = "done", "running", "killed", "interrupted"
SORTED = "sorted"  # after a sorter-only task; another task runs the other stages
# Final statuses; after any other the same call needs the intermediate files again.
FINAL = (DONE, "biological failure")
FAILURES = (
    (BiologicalSortFailure, "biological failure"),
    (EnvironmentSortFailure, "environment failure"),
    (ResourceSortFailure, "resource failure"),
    (KeyboardInterrupt, INTERRUPTED),
)
EARLIER_RUNS = 20
# Types of the entries that are read again; an entry may be missing in a record of an earlier version.
TYPES: dict[str, Any] = {
    "status": str,
    "name": str,
    "stage": str | None,
    "recording_input": str | None,
    "intermediate": str | None,
    "started": str | None,
    "finished": str | None,
    "attempts": list | None,
    "earlier_runs": list,
    "stages": dict | None,
    "host": dict | None,
    "process": dict | None,
    "error": dict | None,
}


@dataclass
class RunRecord:
    """The record of a run in progress, in the order of ``run.json``.

    Attributes
    ----------
    status : str
    name : str
        Short name of the recording.
    started : str
        Local time.
    attempts : list of dict
        Tries of the sorter.
    stages : dict of str to dict
        What every stage took, and whether it was loaded.
    pid, process, host
        Process and host of the run.
    recording_input, intermediate : str or None
        Paths relative to the results folder; None of a recording in memory.
    earlier_runs : list of dict
        How the runs before this one in the same folder ended, oldest first.
    sorter : str or None
    versions : dict of str to str, or None
    stage : str or None
        The stage that runs now.
    units : dict of str to int, or None
        Units before and after curation.
    error : dict or None
        Class and message of the failure.
    finished : str or None
    warnings : list of str or None
    """

    status: str
    name: str
    started: str
    attempts: list[dict[str, Any]]
    stages: dict[str, dict[str, Any]]
    pid: int
    process: dict[str, Any]
    host: dict[str, str]
    recording_input: str | None
    intermediate: str | None
    earlier_runs: list[dict[str, Any]] = field(default_factory=list)
    sorter: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    stage: str | None = None
    units: dict[str, int] | None = None
    error: dict[str, str] | None = None
    finished: str | None = None
    warnings: list[str] | None = None

    @classmethod
    def start(cls, job: Job) -> RunRecord:
        """Make the record of a run of this process that starts now."""
        return cls(
            status=RUNNING,
            name=job.name,
            started=now(),
            attempts=[],
            stages={},
            pid=os.getpid(),
            process=this_process(),
            host={"system": platform.platform(), "machine": platform.machine(), "node": platform.node()},
            recording_input=_relative(job.recording_input, job.results),
            intermediate=_relative(job.intermediate, job.results),
        )

    def add(self, stage: str, result: StageResult[Any]) -> None:
        """Add what a stage took, and whether it was loaded."""
        outcome = {"loaded": result.loaded, "reason": result.reason, "run_id": result.run_id}
        self.stages[stage] = {**outcome, **result.usage, **result.info}

    def fail(self, error: BaseException) -> None:
        """Add the error that ends the run."""
        self.status = status_of(error)
        self.error = {"class": type(error).__name__, "message": str(error)}

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of the file; those that are not known yet are left out."""
        entries = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        unknown = {name for name in OPTIONAL if entries[name] is None}
        if self.sorter is None:
            unknown.add("versions")
        return {name: value for name, value in entries.items() if name not in unknown}

    def write(self, results: Path) -> None:
        """Write the file in a results folder."""
        files.write_text(results / RUN_RECORD, readable(self.to_dict(), default=str))


OPTIONAL = ("sorter", "stage", "units", "error", "finished", "warnings")


def status_of(error: BaseException) -> str:
    """Return the status of a run that ended in `error`."""
    return next((status for kind, status in FAILURES if isinstance(error, kind)), "failed")


def earlier_runs(results: Path) -> list[dict[str, Any]]:
    """Return how the runs before in this folder ended, oldest first: a retry does not hide what it followed."""
    try:
        before = read_record(results / RUN_RECORD)
    except (OSError, ValueError):
        return []
    last = {name: before.get(name) for name in ("started", "finished", "status", "error", "attempts")}
    if last["status"] == RUNNING:  # it does not: this run has its lock
        last["status"] = KILLED
    return [*before.get("earlier_runs", []), last][-EARLIER_RUNS:]


def _relative(path: Any, results: Path) -> str | None:
    """Return `path` relative to the results folder, so that both can be moved; None of a recording in memory."""
    if not isinstance(path, Path):
        return None
    try:
        return Path(os.path.relpath(path, results)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a run.

    Raises
    ------
    ValueError
        If it is damaged; the message names the file and the entry.
    OSError
        If there is none, or it cannot be read.
    """
    record = read_json_object(path, "the record of a run")
    if "status" not in record:
        raise ValueError(f"{path} is no record of a run: 'status' is missing in it")
    if (damaged := _damaged_entry(record)) is not None:
        raise ValueError(f"{path} is damaged: {damaged}")
    return record


def _damaged_entry(record: dict[str, Any]) -> str | None:
    """Describe the first entry that is not of its type; None if all are."""
    for name, kind in TYPES.items():
        if name in record and not isinstance(record[name], kind):
            return f"{name!r} is {brief(record[name])}"
    for name, stage in (record.get("stages") or {}).items():
        if not isinstance(stage, dict) or not isinstance(stage.get("wall_s"), NUMBER):
            return f"the stage {name!r} is {brief(stage)}"
    error = record.get("error") or {"class": "", "message": ""}
    if not (isinstance(error.get("class"), str) and isinstance(error.get("message"), str)):
        return f"'error' is {brief(error)}"
    return None
