"""Find the metrics of other packages by their entry points."""

from __future__ import annotations

import difflib
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from spikelab.spike_sorting.metrics.unit_metric import UnitMetric

if TYPE_CHECKING:
    from collections.abc import Mapping

ENTRY_POINT_GROUP = "spikelab.metrics"


def list_metrics() -> list[str]:
    """List the names of the metrics of other packages, sorted; nothing is imported.

    Examples
    --------
    >>> from spikelab.spike_sorting.metrics import list_metrics
    >>> sorted(list_metrics()) == list_metrics()
    True
    """
    return sorted(_plugins())


def get_metric(name: str) -> UnitMetric:
    """Look up and import a metric of another package.

    Raises
    ------
    ValueError
        If there is no such metric, or what its package brings along is none; the message names the package.

    Examples
    --------
    >>> from spikelab.spike_sorting.metrics import get_metric
    >>> get_metric("no_such_metric")
    Traceback (most recent call last):
    ...
    ValueError: Unknown metric 'no_such_metric'. Other packages bring along: none
    """
    point = _plugins().get(name)
    if point is None:
        there_are = list_metrics()
        near = difflib.get_close_matches(name, there_are, n=2)
        hint = f". Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"Unknown metric {name!r}. Other packages bring along: {', '.join(there_are) or 'none'}{hint}")
    try:
        metric = point.load()
    except Exception as error:
        raise _broken(point, f"cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(metric, UnitMetric):
        raise _broken(point, "is no metric: make it with @unit_metric")
    return metric


def package_of(name: str) -> str:
    """Name the package that brings a metric along."""
    point = _plugins()[name]
    return point.dist.name if point.dist is not None else point.module


def refresh_metrics() -> None:
    """Find metrics anew that were installed or removed since this process first asked for one.

    Examples
    --------
    >>> from spikelab.spike_sorting.metrics import list_metrics, refresh_metrics
    >>> refresh_metrics()  # after ``pip install`` of a package with a metric
    >>> "snr" in list_metrics()  # metrics of other packages only
    False
    """
    _plugins.cache_clear()


@lru_cache(maxsize=1)
def _plugins() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _broken(point: EntryPoint, what: str) -> ValueError:
    package = point.dist.name if point.dist is not None else point.module
    return ValueError(
        f"The metric {point.name!r} of the package {package!r} ({point.value}) {what}. "
        f"Update it (pip install --upgrade {package}) or remove it (pip uninstall {package})"
    )
