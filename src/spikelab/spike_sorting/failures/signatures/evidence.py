"""Numbers in a sorter's log as fields of a failure; None where they contradict the failure."""

from __future__ import annotations

import re
from typing import Any

# With this many crossings or more a recording is not silent, whatever Kilosort2's kernels complain of.
ACTIVE_CROSSINGS = 20_000
FEW_UNITS, FEW_SPIKES = 5, 5.0


def _last_int(pattern: str, text: str) -> int | None:
    numbers = re.findall(pattern, text, flags=re.IGNORECASE)
    return int(numbers[-1]) if numbers else None


def _crossings(text: str) -> int | None:
    return _last_int(r"found (\d+) threshold crossings", text)


def _channels(text: str) -> tuple[int | None, int | None]:
    """Read all channels of Kilosort2's log, and those that it flagged as bad."""
    return _last_int(r"Recording has (\d+) channels", text), _last_int(r"found (\d+) bad channels", text)


def kilosort2_few_spikes(text: str) -> dict[str, Any] | None:
    """Return fields of `InsufficientActivityError` if Kilosort2's numbers show a nearly silent recording, else None."""
    crossings = _crossings(text)
    progress = re.findall(r"\d+ */ *\d+ batches, *(\d+) units, *nspks: *([\d.]+)", text, flags=re.IGNORECASE)
    units, nspks = (int(progress[-1][0]), float(progress[-1][1].rstrip("."))) if progress else (None, None)
    silent = crossings is not None and crossings < ACTIVE_CROSSINGS
    dying = units is not None and nspks is not None and (units <= FEW_UNITS or nspks <= FEW_SPIKES)
    if not (silent or dying):
        return None
    return {"threshold_crossings": crossings, "units_at_failure": units, "nspks_at_failure": nspks}


def kilosort2_not_active(text: str) -> dict[str, Any] | None:
    """Return fields of `InsufficientActivityError` unless the log counts enough crossings for an active recording."""
    crossings = _crossings(text)
    if crossings is not None and crossings >= ACTIVE_CROSSINGS:
        return None
    return {"threshold_crossings": crossings}


def kilosort2_one_live_channel(text: str) -> dict[str, Any] | None:
    """Return fields of `InsufficientActivityError` if one channel is left of several: Kilosort2 sorts none alone."""
    total, bad = _channels(text)
    if total is None or bad is None or total < 2 or total - bad != 1:
        return None
    return {"threshold_crossings": _crossings(text)}


def kilosort2_all_bad(text: str) -> dict[str, Any] | None:
    """Return fields of `NoGoodChannelsError` where Kilosort2 flagged every channel, else None.

    Without the number of channels in the log, no crossing at all has the same meaning: then each channel's rate is 0.
    """
    total, bad = _channels(text)
    if re.search(r"found 0 good channels", text, flags=re.IGNORECASE):
        return {"total_channels": total, "bad_channels": bad if bad is not None else total}
    if bad is None or bad == 0:
        return None
    all_flagged = bad >= total if total is not None else _crossings(text) == 0
    if not all_flagged or (total is None and re.search("invalid configuration argument", text, re.IGNORECASE)):
        return None
    return {"total_channels": total, "bad_channels": bad}


def rt_sort_no_sequences(text: str) -> dict[str, Any] | None:
    """Return no further fields where the last count of propagation sequences is 0, else None."""
    return {} if _last_int(r"(\d+)\b[^\n\d]{0,40}\bpropagation sequences?", text) == 0 else None
