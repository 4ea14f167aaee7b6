"""Find the backend class of a sorter: in a table, the entry points of other packages, or SpikeInterface."""

from __future__ import annotations

import difflib
import importlib
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import SorterNotInstalledError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.backends.base import SorterBackend

ENTRY_POINT_GROUP = "spikelab.sorters"
SPIKEINTERFACE_PREFIX = "spikeinterface:"
BUILT_IN = {
    "kilosort2": "spikelab.spike_sorting.backends.kilosort2:Kilosort2Backend",
    "kilosort4": "spikelab.spike_sorting.backends.kilosort4:Kilosort4Backend",
    "rt_sort": "spikelab.spike_sorting.backends.rt_sort:RTSortBackend",
}
# What takes the place of a sorter and finds no spikes: chosen by the command or function that is for it.
NO_SORTERS = {"imported": "spikelab.spike_sorting.backends.imported:ImportedBackend"}


def list_sorters() -> list[str]:
    """List the names of sorters, without those of SpikeInterface (``spikeinterface:<name>``); nothing is imported.

    Returns
    -------
    names : list of str
        The built-in sorters first, then those of plugins.

    Examples
    --------
    >>> from spikelab.spike_sorting.backends import list_sorters
    >>> list_sorters()[:3]
    ['kilosort2', 'kilosort4', 'rt_sort']
    """
    return [*BUILT_IN, *sorted(name for name in _plugins() if name not in BUILT_IN)]


def get_backend_class(sorter_name: str) -> type[SorterBackend]:
    """Look up and import the backend class of a sorter.

    Parameters
    ----------
    sorter_name : str
        A name of :func:`list_sorters`, or ``spikeinterface:<name>`` for any sorter that SpikeInterface runs.

    Returns
    -------
    cls : type
        The ``SorterBackend`` subclass.

    Raises
    ------
    ValueError
        If there is no such sorter.
    SorterNotInstalledError
        If the package of a plugin sorter cannot be loaded.

    Examples
    --------
    >>> from spikelab.spike_sorting.backends import get_backend_class
    >>> from spikelab.spike_sorting.config import preset_for
    >>> backend = get_backend_class("rt_sort")(preset_for("rt_sort"))
    >>> backend.sorter_label, backend.needs_gpu(backend.config)
    ('rt_sort', False)
    """
    own = {**NO_SORTERS, **BUILT_IN}
    if sorter_name in own:
        module, _, name = own[sorter_name].partition(":")
        backend: type[SorterBackend] = getattr(importlib.import_module(module), name)
        return backend
    plugins = _plugins()
    if sorter_name in plugins:
        return _load_plugin(plugins[sorter_name])
    if sorter_name.startswith(SPIKEINTERFACE_PREFIX):
        from spikelab.spike_sorting.backends.spikeinterface_generic import backend_class_for

        return backend_class_for(sorter_name.removeprefix(SPIKEINTERFACE_PREFIX))
    known = [*list_sorters(), f"{SPIKEINTERFACE_PREFIX}<name>"]
    near = difflib.get_close_matches(_plain(sorter_name), list_sorters(), n=2) or _near_in_spikeinterface(sorter_name)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"Unknown sorter {sorter_name!r}. There are: {', '.join(known)}.{hint}")


def _near_in_spikeinterface(sorter_name: str) -> list[str]:
    from spikeinterface.sorters import available_sorters

    near = difflib.get_close_matches(_plain(sorter_name), available_sorters(), n=2)
    return [SPIKEINTERFACE_PREFIX + name for name in near]


def _plain(sorter_name: str) -> str:
    """Write a name as those of sorters are: "RT-Sort" as rt_sort."""
    return sorter_name.lower().replace("-", "_").replace(" ", "_")


@lru_cache(maxsize=1)
def _plugins() -> Mapping[str, EntryPoint]:
    """Find the sorters of other packages; reads the metadata of every installed package, which takes 30 ms."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def package_of(name: str) -> str | None:
    """Name the package that brings a sorter along; None for one of this package or of SpikeInterface."""
    point = None if name in BUILT_IN else _plugins().get(name)
    return None if point is None else point.dist.name if point.dist is not None else point.module


def refresh_sorters() -> None:
    """Find sorters anew that were installed or removed since this process first asked for one.

    Examples
    --------
    >>> refresh_sorters()  # after ``pip install`` of a package with a sorter
    >>> "rt_sort" in list_sorters()
    True
    """
    _plugins.cache_clear()


def _load_plugin(point: EntryPoint) -> type[SorterBackend]:
    from spikelab.spike_sorting.backends.base import SorterBackend

    try:
        backend = point.load()
    except Exception as error:
        raise _broken(point, f"cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(backend, type) and issubclass(backend, SorterBackend)):
        raise _broken(point, "is no SorterBackend")
    return backend


def _broken(point: EntryPoint, what: str) -> SorterNotInstalledError:
    package = point.dist.name if point.dist is not None else point.module
    return SorterNotInstalledError(
        f"The plugin sorter {point.name!r} of the package {package!r} ({point.value}) {what}. "
        f"Update it (pip install --upgrade {package}) or remove it (pip uninstall {package}).",
        sorter=point.name,
    )
