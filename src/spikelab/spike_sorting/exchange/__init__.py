"""Results to other tools, and curation back from them: what ``spikelab export`` and ``spikelab import`` call."""

from __future__ import annotations

from .curate import curate_results
from .export import FORMATS, UNITS, export_results
from .reimport import import_curation

__all__ = ["FORMATS", "UNITS", "curate_results", "export_results", "import_curation"]
