"""Write ``run.json``, the record of a run, and read the record without trust in its content."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import BiologicalSortFailure, EnvironmentSortFailure, ResourceSortFailure
from spikelab.spike_sorting.data.outcomes import BIOLOGY, DONE, ENVIRONMENT, FAILED, RESOURCE, plain_name
from spikelab.spike_sorting.stages.store import now
from spikelab.system import files
from spikelab.system.json_files import readable
from spikelab.system.process import this_process
from spikelab.system.texts import brief, read_json_object

if TYPE_CHECKING:
    from spikelab.spike_sorting.run.jobs import Job
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
    from spikelab.spike_sorting.stages import StageResult

RUN_RECORD = "run.json"
NUMBER = int | float | None
RUNNING, KILLED, INTERRUPTED = "running", "killed", "interrupted"
NO_UNIT_KEPT = "no unit kept"  # how the status "done" is shown where curation dropped every unit
SORTED = "sorted"  # after a sorter-only task; another task runs the other stages
# Final statuses; after any other the same call needs the intermediate files again.
FINAL = (DONE, BIOLOGY)
FAILURES = (
    (BiologicalSortFailure, BIOLOGY),
    (EnvironmentSortFailure, ENVIRONMENT),
    (ResourceSortFailure, RESOURCE),
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
    "chosen": dict | None,
    "earlier_runs": list,
    "stages": dict | None,
    "host": dict | None,
    "process": dict | None,
    "error": dict | None,
    "metadata": dict | None,
}


@dataclass
class RunRecord:
    """The record of a run in progress, in the order of ``run.json``; entries that are not known yet are None."""

    status: str
    name: str
    started: str
    attempts: list[dict[str, Any]]  # of the sorter
    stages: dict[str, dict[str, Any]]  # cost of each, and whether it was loaded
    pid: int
    process: dict[str, Any]
    host: dict[str, str]
    recording_input: str | None  # relative to the results folder, like `intermediate`; None of a recording in memory
    intermediate: str
    earlier_runs: list[dict[str, Any]] = field(default_factory=list)
    metadata: dict[str, Any] | None = None  # what a list of recordings says of this one besides
    chosen: dict[str, str] | None = None  # settings that nobody gave, and why they are as they are
    sorter: str | None = None
    versions: dict[str, str] | None = None
    stage: str | None = None  # that runs now
    units: dict[str, int] | None = None  # before and after curation
    error: dict[str, str] | None = None
    finished: str | None = None
    warnings: list[str] | None = None

    @classmethod
    def start(cls, job: Job) -> RunRecord:
        """Make the record of a run of this process that starts now."""
        given = job.recording_input
        return cls(
            status=RUNNING,
            name=job.name,
            started=now(),
            attempts=[],
            stages={},
            pid=os.getpid(),
            process=this_process(),
            host={"system": platform.platform(), "machine": platform.machine(), "node": platform.node()},
            recording_input=_relative(given, job.results) if isinstance(given, Path) else None,
            intermediate=_relative(job.intermediate, job.results),
            metadata=dict(job.metadata) or None,
            chosen=dict(job.chosen) or None,
        )

    def add(self, stage: str, result: StageResult[Any]) -> None:
        """Add the cost of a stage, and whether it was loaded."""
        outcome = {"loaded": result.loaded, "reason": result.reason, "run_id": result.run_id}
        self.stages[stage] = {**outcome, **result.usage, **result.info}

    def fail(self, error: BaseException) -> None:
        """Add the error that ends the run."""
        self.status = status_of(error)
        self.error = {"class": type(error).__name__, "message": str(error)}

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of the file; those that are not known yet are left out."""
        entries = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value for name, value in entries.items() if value is not None or name == "recording_input"}

    def write(self, results: Path) -> None:
        """Write the file in a results folder."""
        files.write_text(results / RUN_RECORD, readable(self.to_dict(), default=str))


def versions_of(config: SortingPipelineConfig) -> dict[str, str]:
    """List the versions of this program and of the libraries that results depend on."""
    from importlib.metadata import PackageNotFoundError, version

    from spikelab import __version__

    versions = {"spikelab": __version__, "python": platform.python_version()}
    names = ["spikeinterface", "numpy", "scipy", "numba"]
    if config.sorter.sorter_name == "kilosort4" and not config.sorter.use_docker:
        names += ["kilosort", "torch"]
    for name in names:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def status_of(error: BaseException) -> str:
    """Return the status of a run that ended in `error`."""
    return next((status for kind, status in FAILURES if isinstance(error, kind)), FAILED)


def failure_line(error: BaseException) -> str:
    """Write how a run ended for its log: the plain name, the class, and the message."""
    return f"{plain_name(status_of(error))} ({type(error).__name__}): {error}"


def shown_status(status: str, units: Any) -> str:
    """Return the status to show of a run; `units` is the entry of the record, or None."""
    none = isinstance(units, dict) and units.get("curated") == 0
    return NO_UNIT_KEPT if status == DONE and none else status


def earlier_runs(results: Path) -> list[dict[str, Any]]:
    """Return the ends of earlier runs in this folder, oldest first: a retry does not hide them."""
    try:
        before = read_record(results / RUN_RECORD)
    except (OSError, ValueError):
        return []
    last = {name: before.get(name) for name in ("started", "finished", "status", "error", "attempts")}
    if last["status"] == RUNNING:  # but is over: this run has its lock
        last["status"] = KILLED
    return [*before.get("earlier_runs", []), last][-EARLIER_RUNS:]


def _relative(path: Path, results: Path) -> str:
    """Return `path` relative to the results folder, so that both can be moved."""
    try:
        return Path(os.path.relpath(path, results)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a run; ValueError, which names file and entry, where it is damaged, OSError without one."""
    record = read_json_object(path, "the record of a run")
    if "status" not in record:
        raise ValueError(f"{path} is no record of a run: 'status' is missing in it")
    if (damaged := _damaged_entry(record)) is not None:
        raise ValueError(f"{path} is damaged: {damaged}")
    return record


def require_no_other_sort(results: Path, sorter: str, units: Path) -> None:
    """Refuse to import the units at `units` into a folder that holds them, or the results of another sorter."""
    if units.resolve().is_relative_to(results.resolve()):
        raise ValueError(f"{units} lies in {results}, which its import would replace: name another results folder")
    try:
        found = read_record(results / RUN_RECORD).get("sorter")
    except (OSError, ValueError):  # no results, or none that can be read: the sort says so
        return
    if found not in (None, sorter):
        raise ValueError(
            f"{results} holds results of {found}, which an import would replace: name another folder for the units "
            f"of {units}"
        )


def _damaged_entry(record: dict[str, Any]) -> str | None:
    """Describe the first entry that is not of its type; None if all are."""
    for name, kind in TYPES.items():
        if name in record and not isinstance(record[name], kind):
            return f"{name!r} is {brief(record[name])}"
    for name, stage in (record.get("stages") or {}).items():
        if not _is_stage(stage):
            return f"the stage {name!r} is {brief(stage)}"
    error = record.get("error")
    if error and not all(isinstance(error.get(name), str) for name in ("class", "message")):
        return f"'error' is {brief(error)}"
    return None


def _is_stage(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("wall_s"), NUMBER)
