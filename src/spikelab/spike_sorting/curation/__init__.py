"""Curation: two rounds of criteria, one table of them in ``criteria``, and the record of their outcome."""

from __future__ import annotations

from .doubts import doubts
from .dropped import dropped
from .outcome import CurationOutcome, RoundResults
from .rounds import curate_two_rounds, require_epoch

__all__ = ["CurationOutcome", "RoundResults", "curate_two_rounds", "doubts", "dropped", "require_epoch"]
