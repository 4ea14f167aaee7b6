"""Which units are good enough: two rounds of criteria and a record of what they decided."""

from __future__ import annotations

from .outcome import CurationOutcome, RoundResults
from .rounds import curate_two_rounds, require_epoch

__all__ = ["CurationOutcome", "RoundResults", "curate_two_rounds", "require_epoch"]
