"""Quality metrics of other packages: what one is, which are installed, and their values."""

from spikelab.spike_sorting.metrics.compute import measure
from spikelab.spike_sorting.metrics.registry import get_metric, list_metrics, refresh_metrics
from spikelab.spike_sorting.metrics.unit_metric import UnitMetric, unit_metric

__all__ = ["UnitMetric", "get_metric", "list_metrics", "measure", "refresh_metrics", "unit_metric"]
