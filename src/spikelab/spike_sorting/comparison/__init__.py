"""Two or more sorts of one recording, unit by unit."""

from __future__ import annotations

from spikelab.spike_sorting.comparison.compare import Comparison, compare_sorts

__all__ = ["Comparison", "compare_sorts"]
