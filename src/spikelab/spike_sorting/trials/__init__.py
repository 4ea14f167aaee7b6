"""Sorts tried on their own recording: validated with known neurons, with other settings, and done again."""

from spikelab.spike_sorting.trials.validate import validate_sort

__all__ = ["validate_sort"]
