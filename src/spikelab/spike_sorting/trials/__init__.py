"""Sorts tried on their own recording: validated with known neurons, and with other settings or sorters."""

from spikelab.spike_sorting.trials.grid import Trial, validate_grid
from spikelab.spike_sorting.trials.validate import validate_sort

__all__ = ["Trial", "validate_grid", "validate_sort"]
