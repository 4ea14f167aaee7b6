"""Write and read a job as a file, and the list of the jobs of a batch, for other processes and shells."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from spikelab.spike_sorting.batch.columns import TAKEN, further_columns, value_fault
from spikelab.spike_sorting.run.jobs import Job
from spikelab.spike_sorting.settings.toml import config_to_toml, read_config
from spikelab.spike_sorting.settings.validation import validate_config
from spikelab.system import files
from spikelab.system.quoting import printable
from spikelab.system.texts import brief, read_json_object, read_toml

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = "batch.json"
PATHS = ("recording", "results", "intermediate")


def write_job(job: Job, path: Path) -> None:
    """Write `job` to a file; ValueError for a name that is no UTF-8, which a text cannot hold."""
    for named in (job.recording_input, job.results, job.intermediate):
        if not str(named).isprintable() and str(named) != os.fsencode(named).decode("utf-8", "replace"):
            raise ValueError(f"{printable(str(named))} is no UTF-8, and cannot be written into a job file: rename it")
    paths = (job.recording_input.absolute(), job.results, job.intermediate)
    content = {"name": job.name, **dict(zip(PATHS, map(str, paths), strict=True))}
    beside = {"metadata": dict(job.metadata), "chosen": dict(job.chosen)}
    noted = {name: values for name, values in beside.items() if values}
    files.write_text(path, tomli_w.dumps({**content, **noted, "config": tomllib.loads(config_to_toml(job.config))}))


def read_job(path: Path) -> Job:
    """Read a job file; relative paths in it start from its folder; ValueError for no job or an impossible setting."""
    try:
        content = read_toml(path, "a job file")
        for key in ("name", *PATHS):
            _require(key, content, str, "a text")
        _require("config", content, dict, "a table of settings")
        _require("metadata", {"metadata": {}} | content, dict, "a table of what is noted of the recording")
        config = read_config(tomli_w.dumps(content["config"]) + "\n")
        validate_config(config)
    except FileNotFoundError:
        raise
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no job file: {error}. spikelab batch --plan writes them") from error
    folders = [path.absolute().parent / content[key] for key in PATHS]
    recording, results, intermediate = folders
    notes = _noted(path, content.get("metadata", {})), _texts(content.get("chosen"))
    return Job(recording, content["name"], config, results, intermediate, *notes)


def _noted(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    """Check what a job file notes of its recording, which results keep beside their own names."""
    for name, value in metadata.items():
        if name in TAKEN or (fault := value_fault(value)):
            fault = "is a name that the results use for something else" if name in TAKEN else fault
            raise ValueError(f"{path} is no job file: {name!r} in 'metadata': {fault}")
    return further_columns(metadata, ())


def _texts(chosen: Any) -> dict[str, str]:
    """Return the reasons of chosen settings; they are for people, and what is none is left out."""
    return {name: why for name, why in chosen.items() if isinstance(why, str)} if isinstance(chosen, dict) else {}


def _require(key: str, content: dict[str, Any], kind: type, expected: str) -> None:
    if key not in content:
        raise ValueError(f"{key!r} is missing in it")
    if not isinstance(content[key], kind) or (kind is str and (not content[key] or "\0" in content[key])):
        raise ValueError(f"{key!r} must be {expected}, got {brief(content[key])}")


def write_batch(jobs: Sequence[Job], folder: Path) -> None:
    """Write the list of the jobs of a batch, for ``spikelab status``."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [{"name": job.name, "results": str(job.results)} for job in jobs]
    files.write_text(folder / BATCH, json.dumps({"jobs": listed}, indent=0))


def read_batch(path: Path) -> list[tuple[str, Path]]:
    """Read name and results folder of each job of a batch; ValueError where :func:`write_batch` did not write it."""
    what = "the list of a batch"
    jobs = read_json_object(path, what).get("jobs")
    if not isinstance(jobs, list):
        raise ValueError(f"{path} has no 'jobs' in it; expected {what}")  # noqa: TRY004 - what a file holds is a value
    for number, job in enumerate(jobs, start=1):
        if not isinstance(job, dict) or not all(isinstance(job.get(key), str) for key in ("name", "results")):
            raise ValueError(f"{path}, job {number}: expected a name and a results folder, got {brief(job)}")
    return [(job["name"], Path(job["results"])) for job in jobs]
