"""Results in the forms that people open: ``SpikeData``, pickle, npz and mat."""

from __future__ import annotations

from .build import build_spikedata
from .results import compile_results
from .split import split_by_file

__all__ = ["build_spikedata", "compile_results", "split_by_file"]
