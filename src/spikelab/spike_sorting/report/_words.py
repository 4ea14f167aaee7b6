"""Words and formats for numbers, durations and the status of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.data.outcomes import BIOLOGY, ENVIRONMENT, RESOURCE, plain_name

if TYPE_CHECKING:
    from collections.abc import Mapping

# Badge, meaning in one sentence and advice for each status of run.json.
STATUSES = {
    "done": ("done", "", ()),
    "no unit kept": (
        "done, no unit kept",
        "The sorter found units, and curation dropped all of them.",
        (),
    ),
    BIOLOGY: (
        plain_name(BIOLOGY),
        "The recording itself could not be sorted; the software and the machine are not to blame.",
        (
            "Look at the traces first: a wrong data type or gain (gain_to_uv) is more common than a silent culture.",
            "The same call gives this answer again, unless recompute_sorting is set (--set recompute_sorting=yes).",
        ),
    ),
    ENVIRONMENT: (
        plain_name(ENVIRONMENT),
        "Something on this machine is missing or misconfigured. No recording can be sorted until it is fixed.",
        (
            "Do what the message says, then make the same call again: finished stages are not done twice.",
            "spikelab doctor shows which sorters, GPU, plugins and containers work here.",
        ),
    ),
    RESOURCE: (
        plain_name(RESOURCE),
        "Memory, disk or time ran out before the recording was sorted.",
        (
            "Free what ran out, or ask for less: a smaller batch of the sorter, a lower total_memory, fewer n_jobs.",
            "The same call goes on where it stopped: finished stages are not done twice.",
        ),
    ),
    "failed": (
        "failed",
        "The run ended in an error that was not recognised.",
        (
            "The log below has where it happened.",
            "The same call goes on where it stopped: finished stages are not done twice.",
        ),
    ),
    "interrupted": ("interrupted", "The run was interrupted.", ("The same call goes on where it stopped.",)),
    "running": ("running", "The run had not ended when this was written.", ()),
    "sorted": ("running", "The sorter has ended; the rest is still to come.", ()),
    "to come": ("to come", "The batch had not come to this recording when this was written.", ()),
    "not attempted": (
        "not attempted",
        "The batch stopped before this recording: it would have failed the same way.",
        (),
    ),
}
SEVERITIES = {
    "done": "good",
    "no unit kept": "doubtful",
    BIOLOGY: "neutral",
    "not attempted": "neutral",
    "to come": "neutral",
}


def status_words(status: str) -> tuple[str, str, tuple[str, ...]]:
    """Return badge, meaning and advice of a status."""
    return STATUSES.get(status, (status, "", ()))


def shown_status(status: str, record: Mapping[str, Any]) -> str:
    """Return the status of a record to show: "done" without a unit that was kept is not what one hopes for."""
    none = (record.get("units") or {}).get("curated") == 0
    return "no unit kept" if status == "done" and none else status


def severity(status: str) -> str:
    """Return the severity of a status, which has a colour."""
    return SEVERITIES.get(status, "bad")


def format_number(value: Any) -> str:
    """Format a number: whole ones with thin spaces, others to three digits, NaN and infinity as words."""
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    value = float(value)
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else "\N{MINUS SIGN}\N{INFINITY}"
    if value == round(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:#.3g}".rstrip(".") if abs(value) < 1000 else f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Format seconds as ``0.5 s``, ``2 min 5 s``, ``3 h 20 min``."""
    if seconds is None or not math.isfinite(seconds):
        return "\N{EN DASH}"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def memory(mib: float | None) -> str:
    """Format MiB as ``350 MiB`` or ``2.5 GiB``."""
    if mib is None:
        return "\N{EN DASH}"
    return f"{mib:.0f} MiB" if mib < 1024 else f"{mib / 1024:.3g} GiB"


def plural(count: int, one: str) -> str:
    """Format a count with its noun: ``1 unit``, ``2 units``."""
    return f"{format_number(count)} {one if count == 1 else one + 's'}"


def sort_key(value: Any) -> str:
    """Return the sort key of a cell; "" where the value is no number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and math.isinf(value):
        return "1e308" if value > 0 else "-1e308"
    return str(value)
