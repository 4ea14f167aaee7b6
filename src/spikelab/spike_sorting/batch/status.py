"""How far jobs are, from their results folders alone: whoever runs them, and from any shell that sees the folders."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.batch.jobfile import BATCH, read_batch
from spikelab.spike_sorting.run.alive import is_alive
from spikelab.spike_sorting.run.record import RUN_RECORD, read_record
from spikelab.spike_sorting.run.sort_one import SORTED
from spikelab.system.quoting import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

TO_COME, RUNNING, KILLED, INTERRUPTED, DAMAGED = "to come", "running", "killed", "interrupted", "damaged record"
ENDED = ("done", "biological failure", "environment failure", "resource failure", "failed")
# In this order they are counted, and told.
STATES = ("done", "biological failure", "resource failure", "environment failure", "failed",
          INTERRUPTED, KILLED, DAMAGED, RUNNING, SORTED, TO_COME)  # fmt: skip
DEPTH = 3
ERROR_SHOWN = 80


@dataclass(frozen=True)
class Row:
    """How far one job is.

    Attributes
    ----------
    name : str
    state : str
        One of `STATES`.
    stage : str
        What runs now; "" where nothing does.
    attempts : int
        Tries of the sorter so far.
    seconds : float or None
        Since it was started, or what it took.
    error : str
        What it failed of.
    results : Path
    host : str
        Where it runs, or ran.
    """

    name: str
    state: str
    stage: str
    attempts: int
    seconds: float | None
    error: str
    results: Path
    host: str


def to_come(name: str, results: Path) -> Row:
    """A job that nobody has begun."""
    return Row(name, TO_COME, "", 0, None, "", results, "")


def look(name: str, results: Path) -> Row:
    """How far the job with this results folder is."""
    try:
        record = read_record(results / RUN_RECORD)
    except FileNotFoundError:
        return to_come(name, results)
    except (OSError, ValueError) as error:
        return Row(name, DAMAGED, "", 0, None, _without_folder(error, results), results, "")
    state = record["status"]
    if state == RUNNING and not is_alive(results, record.get("process") or {}):
        state = KILLED
    failure = record.get("error") or {}
    return Row(
        name=name,
        state=state,
        stage=record.get("stage") or "" if state == RUNNING else "",
        attempts=len(record.get("attempts") or ()),
        seconds=_seconds(record, state),
        error=f"{failure.get('class')}: {failure.get('message')}" if failure and state != INTERRUPTED else "",
        results=results,
        host=str((record.get("host") or {}).get("node", "")),
    )


def _without_folder(error: Exception, folder: Path) -> str:
    """What is wrong, in the little room that a table has."""
    return str(error).replace(f"{folder}{os.sep}", "")


def look_at_folder(folder: Path) -> list[Row]:
    """How far all jobs are that `folder` speaks of: those of a batch or a plan, or whatever was sorted below it.

    Raises
    ------
    FileNotFoundError
        If nothing was planned or sorted there.
    """
    listed = [*folder.glob(BATCH), *folder.glob(f"*/{BATCH}")]
    jobs: dict[Path, str] = {}
    damaged = []
    for path in listed:
        try:
            jobs |= {results: name for name, results in read_batch(path)}
        except (OSError, ValueError) as error:
            damaged.append(Row(path.name, DAMAGED, "", 0, None, _without_folder(error, path.parent), path.parent, ""))
    if not jobs:
        patterns = ["/".join(["*"] * depth + [RUN_RECORD]) for depth in range(DEPTH + 1)]
        jobs = {path.parent: path.parent.name for pattern in patterns for path in sorted(folder.glob(pattern))}
    if not jobs and not damaged:
        raise FileNotFoundError(
            f"nothing was sorted in {folder}: give a results folder, its parent, or a folder of spikelab batch --plan"
        )
    return damaged + [look(name, results) for results, name in jobs.items()]


def summary(rows: Sequence[Row], workers: int | None = None) -> str:
    """How many jobs are how far, and, where it can be told, how long the rest will take."""
    counts = Counter(row.state for row in rows)
    words = [f"{counts[state]} {state}" for state in STATES if counts[state]]
    words += [f"{count} {state}" for state, count in counts.items() if state not in STATES]
    left = estimate(rows, workers)
    return ", ".join(words) + (f"; about {duration(left)} left" if left else "")


def estimate(rows: Sequence[Row], workers: int | None = None) -> float | None:
    """Seconds until all have ended, at the pace of those that have."""
    took = [row.seconds for row in rows if row.state == "done" and row.seconds]
    running = [row.seconds or 0.0 for row in rows if row.state == RUNNING]
    to_come = sum(row.state not in (*ENDED, RUNNING) for row in rows)
    if not took or not (running or to_come):
        return None
    each = sum(took) / len(took)
    work = each * to_come + sum(max(each - seconds, 0.0) for seconds in running)
    return work / max(workers or len(running), 1)


def duration(seconds: float | None) -> str:
    """Seconds as a reader wants them."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table whose header is `HEADER`."""
    error = printable(row.error.replace("\n", " "))
    shown = error if len(error) <= ERROR_SHOWN else error[: ERROR_SHOWN - 3] + "..."
    state = f"{row.state}: {row.stage}" if row.stage else row.state
    told = (row.name, state, str(row.attempts or ""), duration(row.seconds), row.host, shown)
    return tuple(map(printable, told))


HEADER = ("recording", "state", "attempts", "time", "host", "")


def to_show(rows: Iterable[Row], most: int | None) -> list[Row]:
    """The rows that matter most, in their order: what runs, then what failed last, then the rest."""
    rows = list(rows)
    if most is None or len(rows) <= most:
        return rows
    rank = {RUNNING: 0, "failed": 1, "environment failure": 1, "resource failure": 1, KILLED: 1, "done": 3, TO_COME: 4}
    chosen = sorted(range(len(rows)), key=lambda i: (rank.get(rows[i].state, 2), -i))[:most]
    return [rows[i] for i in sorted(chosen)]


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _seconds(record: dict[str, Any], state: str) -> float | None:
    stages = [stage.get("wall_s") for stage in (record.get("stages") or {}).values()]
    if state in ("done", SORTED) and stages and all(map(_is_duration, stages)):
        return float(sum(stages))
    try:
        start = datetime.strptime(record["started"], "%Y-%m-%dT%H:%M:%S%z")
        end = datetime.strptime(record["finished"], "%Y-%m-%dT%H:%M:%S%z") if record.get("finished") else None
    except (KeyError, ValueError, TypeError):
        return None
    return ((end or datetime.now(start.tzinfo)) - start).total_seconds() if end or state == RUNNING else None
