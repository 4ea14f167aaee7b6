"""Decisions that a page was made with, and the units of the sort that further ones are based on."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.decisions import Decisions

if TYPE_CHECKING:
    from spikelab.spike_sorting.report._content import ReportData


def counted(decisions: Decisions) -> str:
    """Identify the steps that count, to tell whether a page was made with them."""
    text = json.dumps(list(decisions.counted), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def decided_content(data: ReportData) -> dict[str, Any] | None:
    """Return what decide.js begins with; None where nothing can be decided."""
    if data.trains is None:
        return None
    decisions = data.decisions or Decisions.on(data.trains)
    counts = [len(train) for train in data.trains.samples]
    return {
        "sort": decisions.sort,
        "units": [list(pair) for pair in zip(data.trains.unit_ids.tolist(), counts, strict=True)],
        "steps": list(decisions.steps),
        "done": decisions.done,
        "counted": counted(decisions),
    }
