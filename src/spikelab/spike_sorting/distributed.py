"""Sort many recordings on a dask cluster. The work is done in ``batch/``."""

from spikelab.spike_sorting.batch.entries import ManifestError
from spikelab.spike_sorting.batch.manifest import Look, jobs_from_entries, read_manifest
from spikelab.spike_sorting.batch.on_cluster import run_many, sort_many

__all__ = ["Look", "ManifestError", "jobs_from_entries", "read_manifest", "run_many", "sort_many"]
