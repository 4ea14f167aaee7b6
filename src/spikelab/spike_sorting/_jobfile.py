"""A job in a file of its own, and the list of the jobs of a batch: what other processes and shells need to know."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from spikelab import _files
from spikelab.spike_sorting._inputs import Job
from spikelab.spike_sorting._toml import config_from_toml, config_to_toml
from spikelab.spike_sorting._validation import validate_config

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = "batch.json"
PATHS = ("recording", "results", "intermediate")


def write_job(job: Job, path: Path) -> None:
    """Write all that a sort of `job` needs to know."""
    content: dict[str, Any] = {
        "name": job.name,
        "recording": str(job.recording_input.absolute()),
        "results": str(job.results),
        "intermediate": str(job.intermediate),
        "config": tomllib.loads(config_to_toml(job.config)),
    }
    _files.write_text(path, tomli_w.dumps(content))


def read_job(path: Path) -> Job:
    """Read what :func:`write_job` wrote; paths that were made relative are relative to the file.

    Raises
    ------
    ValueError
        If it is no such file, or a setting in it is impossible.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        folders = [path.absolute().parent / content[key] for key in PATHS]
        config = config_from_toml(tomli_w.dumps(content["config"]) + "\n")
        validate_config(config)
        return Job(folders[0], str(content["name"]), config, *folders[1:])
    except KeyError as error:
        raise ValueError(
            f"{path} is no job file: {error} is missing in it. spikelab batch --plan writes them"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path} is no job file: {error}. spikelab batch --plan writes them") from error


def write_batch(jobs: Sequence[Job], folder: Path) -> None:
    """Note which jobs belong together, for those who ask how far they are."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [{"name": job.name, "results": str(job.results)} for job in jobs]
    _files.write_text(folder / BATCH, json.dumps({"jobs": listed}, indent=0))


def read_batch(path: Path) -> list[tuple[str, Path]]:
    """Name and results folder of each job of a batch."""
    return [(job["name"], Path(job["results"])) for job in json.loads(path.read_text(encoding="utf-8"))["jobs"]]
