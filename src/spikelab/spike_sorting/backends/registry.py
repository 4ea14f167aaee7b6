"""Which class drives which sorter: a table, the entry points of other packages, and SpikeInterface for the rest."""

from __future__ import annotations

import difflib
import importlib
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import SorterNotInstalledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from spikelab.spike_sorting.backends.base import SorterBackend

ENTRY_POINT_GROUP = "spikelab.sorters"
SPIKEINTERFACE_PREFIX = "spikeinterface:"
BUILT_IN = {
    "kilosort2": "spikelab.spike_sorting.backends.kilosort2:Kilosort2Backend",
    "kilosort4": "spikelab.spike_sorting.backends.kilosort4:Kilosort4Backend",
    "rt_sort": "spikelab.spike_sorting.backends.rt_sort:RTSortBackend",
}


def list_sorters() -> list[str]:
    """Names that :func:`get_backend_class` knows, without the ``spikeinterface:<name>`` ones; nothing is imported.

    Returns
    -------
    names : list of str
        The built-in sorters first, then those of plugins.
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
    """
    if sorter_name in BUILT_IN:
        return _load_built_in(sorter_name)
    plugins = _plugins()
    if sorter_name in plugins:
        return _load_plugin(plugins[sorter_name])
    if sorter_name.startswith(SPIKEINTERFACE_PREFIX):
        from spikelab.spike_sorting.backends.spikeinterface_generic import backend_class_for

        return backend_class_for(sorter_name.removeprefix(SPIKEINTERFACE_PREFIX))
    known = [*list_sorters(), f"{SPIKEINTERFACE_PREFIX}<name>"]
    near = difflib.get_close_matches(sorter_name, list_sorters(), n=2) or _near_in_spikeinterface(sorter_name)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"Unknown sorter {sorter_name!r}. There are: {', '.join(known)}.{hint}")


def _near_in_spikeinterface(sorter_name: str) -> list[str]:
    from spikeinterface.sorters import available_sorters

    return [SPIKEINTERFACE_PREFIX + name for name in difflib.get_close_matches(sorter_name, available_sorters(), n=2)]


def _plugins() -> Mapping[str, EntryPoint]:
    return _found(entry_points, tuple((folder, _changed(folder)) for folder in sys.path))


@lru_cache(maxsize=4)
def _found(find: Callable[..., Iterable[EntryPoint]], _where: tuple[Any, ...]) -> Mapping[str, EntryPoint]:
    """Every installed package has to be read for it: 30 ms, which a list of thousands of recordings would feel."""
    return {point.name: point for point in find(group=ENTRY_POINT_GROUP)}


def _changed(folder: str) -> int | None:
    """When something was installed there or removed; None where there is no such folder."""
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return None


def _load_built_in(sorter_name: str) -> type[SorterBackend]:
    module_name, class_name = BUILT_IN[sorter_name].split(":")
    backend: type[SorterBackend] = getattr(importlib.import_module(module_name), class_name)
    return backend


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
