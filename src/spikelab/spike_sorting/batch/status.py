"""Read how far jobs are from their results folders alone, in any shell that sees the folders."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.batch.jobfile import BATCH, read_batch
from spikelab.spike_sorting.data.outcomes import BIOLOGY, DONE, ENVIRONMENT, FAILED, RESOURCE, plain_name
from spikelab.spike_sorting.run.alive import is_alive
from spikelab.spike_sorting.run.record import NO_UNIT_KEPT, RUN_RECORD, SORTED, read_record, shown_status
from spikelab.system.quoting import printable
from spikelab.system.texts import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

TO_COME, RUNNING, KILLED, INTERRUPTED, DAMAGED = "to come", "running", "killed", "interrupted", "damaged record"
ENDED = (DONE, NO_UNIT_KEPT, BIOLOGY, ENVIRONMENT, RESOURCE, FAILED)
# In the order of the counts.
STATES = (DONE, NO_UNIT_KEPT, BIOLOGY, RESOURCE, ENVIRONMENT, FAILED,
          INTERRUPTED, KILLED, DAMAGED, RUNNING, SORTED, TO_COME)  # fmt: skip
DEPTH = 3
ERROR_SHOWN = 80


@dataclass(frozen=True)
class Row:
    """State of one job."""

    name: str
    state: str  # one of `STATES`
    results: Path
    stage: str = ""  # that runs now
    attempts: int = 0  # tries of the sorter so far
    seconds: float | None = None  # since the start of a running job, or in all
    error: str = ""  # class and message of the failure
    host: str = ""


def job_state(name: str, results: Path) -> Row:
    """Read the state of a job from its results folder."""
    try:
        record = read_record(results / RUN_RECORD)
    except FileNotFoundError:
        return Row(name, TO_COME, results)
    except (OSError, ValueError) as error:
        return _damaged(name, results, error)
    return _row(name, results, record)


def _row(name: str, results: Path, record: dict[str, Any]) -> Row:
    state, failure = record["status"], record.get("error")
    if state == RUNNING and not is_alive(results, record.get("process") or {}):
        state = KILLED
    return Row(
        name=name,
        state=shown_status(state, record.get("units")),
        results=results,
        stage=(record.get("stage") or "") if state == RUNNING else "",
        attempts=_tries(record.get("attempts") or ()),
        seconds=_seconds(record, state),
        error=_error_words(failure, state) if failure and state != INTERRUPTED else "",
        host=str((record.get("host") or {}).get("node", "")),
    )


def _error_words(failure: dict[str, Any], state: str) -> str:
    """Return the message of a failure, with its class where its state has no plain name that tells more."""
    kind = "" if plain_name(state) != state else f"{failure.get('class')}: "
    return f"{kind}{failure.get('message')}"


def _tries(attempts: Sequence[dict[str, Any]]) -> int:
    """Count the tries of the sorter: where groups of channels are sorted apart, the most of any group."""
    return max(Counter(attempt.get("group") for attempt in attempts).values(), default=0)


def _damaged(name: str, folder: Path, error: Exception) -> Row:
    return Row(name, DAMAGED, folder, error=str(error).replace(f"{folder}{os.sep}", ""))


def folder_states(folder: Path) -> list[Row]:
    """Read the states of all jobs of a folder: those of a batch or a plan, or else all that were sorted below it."""
    jobs, damaged = _listed_jobs(folder)
    if not jobs:
        patterns = ["/".join(["*"] * depth + [RUN_RECORD]) for depth in range(DEPTH + 1)]
        jobs = {path.parent: path.parent.name for pattern in patterns for path in sorted(folder.glob(pattern))}
    if not jobs and not damaged:
        raise FileNotFoundError(
            f"nothing was sorted in {folder}: give a results folder, its parent, or a folder of spikelab batch --plan"
        )
    return damaged + [job_state(name, results) for results, name in jobs.items()]


def _listed_jobs(folder: Path) -> tuple[dict[Path, str], list[Row]]:
    """Read the lists of batches in a folder: results folders with the names of their jobs, and damaged lists."""
    jobs: dict[Path, str] = {}
    damaged = []
    for path in (*folder.glob(BATCH), *folder.glob(f"*/{BATCH}")):
        try:
            jobs |= {results: name for name, results in read_batch(path)}
        except (OSError, ValueError) as error:
            damaged.append(_damaged(path.name, path.parent, error))
    return jobs, damaged


def summary(rows: Sequence[Row], workers: int | None = None) -> str:
    """Count jobs by state, and estimate how long the rest will take."""
    counts = Counter(row.state for row in rows)
    words = [f"{counts[state]} {plain_name(state)}" for state in STATES if counts[state]]
    words += [f"{count} {state}" for state, count in counts.items() if state not in STATES]
    left = estimate(rows, workers)
    return ", ".join(words) + (f"; about {duration(left)} left" if left else "")


def estimate(rows: Sequence[Row], workers: int | None = None) -> float | None:
    """Estimate the seconds until all jobs have ended: the mean time of finished jobs, times what is left of it.

    None where no job has finished, or all have ended. Without `workers` as many jobs go on at once as run now.
    """
    mean = _mean_duration(rows)
    left = [row for row in rows if row.state not in ENDED]
    if mean is None or not left:
        return None
    running = [row.seconds or 0.0 for row in left if row.state == RUNNING]
    work = mean * (len(left) - len(running)) + sum(max(mean - seconds, 0.0) for seconds in running)
    return work / max(workers or len(running), 1)


def _mean_duration(rows: Iterable[Row]) -> float | None:
    """Average the seconds of finished jobs; None without any."""
    seconds = [row.seconds for row in rows if row.state in (DONE, NO_UNIT_KEPT) and row.seconds]
    return sum(seconds) / len(seconds) if seconds else None


def cells(row: Row) -> tuple[str, ...]:
    """Make a row of the table whose header is `HEADER`."""
    error = printable(row.error.replace("\n", " "))
    short = error if len(error) <= ERROR_SHOWN else error[: ERROR_SHOWN - 3] + "..."
    state = f"{plain_name(row.state)}: {row.stage}" if row.stage else plain_name(row.state)
    texts = (row.name, state, str(row.attempts or ""), duration(row.seconds), row.host, short)
    return tuple(map(printable, texts))


HEADER = ("recording", "state", "attempts", "time", "host", "")


def to_show(rows: Iterable[Row], most: int | None) -> list[Row]:
    """Choose the rows that matter most, in their order: running jobs, then the last failures, then the rest."""
    rows = list(rows)
    if most is None or len(rows) <= most:
        return rows
    rank = {RUNNING: 0, FAILED: 1, ENVIRONMENT: 1, RESOURCE: 1, KILLED: 1, DONE: 3, TO_COME: 4}
    chosen = sorted(range(len(rows)), key=lambda i: (rank.get(rows[i].state, 2), -i))[:most]
    return [rows[i] for i in sorted(chosen)]


def _seconds(record: dict[str, Any], state: str) -> float | None:
    """Sum the durations of the stages of a finished run; else measure from its start to its end, or to now."""
    stages = [stage.get("wall_s") for stage in (record.get("stages") or {}).values()]
    if state in (DONE, SORTED) and stages and all(map(_is_duration, stages)):
        return float(sum(stages))
    start, end = _time(record, "started"), _time(record, "finished")
    if state == RUNNING and not record.get("finished"):
        end = datetime.now().astimezone()
    return None if start is None or end is None else (end - start).total_seconds()


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _time(record: dict[str, Any], key: str) -> datetime | None:
    try:
        return datetime.strptime(record[key], "%Y-%m-%dT%H:%M:%S%z")
    except (KeyError, ValueError, TypeError):
        return None
