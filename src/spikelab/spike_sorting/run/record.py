"""Read ``run.json`` and what else tells of runs, without trust in what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelab.system.texts import brief, read_json_object

if TYPE_CHECKING:
    from pathlib import Path

RUN_RECORD = "run.json"
NUMBER = int | float | None
# Of what other code reads, the types it is written with; what is missing was written by an earlier version.
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
    for name, kind in TYPES.items():
        if name in record and not isinstance(record[name], kind):
            raise ValueError(f"{path} is damaged: {name!r} is {brief(record[name])}")
    for name, stage in (record.get("stages") or {}).items():
        if not isinstance(stage, dict) or not isinstance(stage.get("wall_s"), NUMBER):
            raise ValueError(f"{path} is damaged: the stage {name!r} is {brief(stage)}")  # noqa: TRY004  of a file
    error = record.get("error") or {"class": "", "message": ""}
    if not all(isinstance(error.get(name), str) for name in ("class", "message")):
        raise ValueError(f"{path} is damaged: 'error' is {brief(error)}")
    return record
