"""HDF5 files that say what is wrong with them: corrupt, truncated, or compressed with a filter that is not here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from spikelab.spike_sorting._exceptions import HDF5PluginMissingError
from spikelab.spike_sorting.recording.boundary import OF_THE_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGIN_VARIABLE = "HDF5_PLUGIN_PATH"
MAXWELL_FILTER = 401


def set_plugin_path(path: str | Path) -> None:
    """Make HDF5 look for compression plugins in `path`, in this process and its children.

    Sets ``HDF5_PLUGIN_PATH`` (read by HDF5 before its first look-up, and by child processes) and appends to h5py's
    own list (the only one that is read after the first look-up).

    Parameters
    ----------
    path : str or Path
        Folder with the plugin, for example MaxWell's ``libcompression.so``.
    """
    folder = os.fspath(path)
    os.environ[PLUGIN_VARIABLE] = folder
    known = {h5py.h5pl.get(i) for i in range(h5py.h5pl.size())}
    if os.fsencode(folder) not in known:
        h5py.h5pl.append(os.fsencode(folder))


def open_hdf5(path: Path) -> Any:
    """Open `path` for reading.

    Returns
    -------
    h5py.File

    Raises
    ------
    ValueError
        If the file is empty, truncated, corrupt or no HDF5 file at all.
    """
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) in OF_THE_SYSTEM:
            raise
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty (0 bytes)") from error
        if "truncated" in str(error):
            raise ValueError(
                f"{path} is truncated: was the copy interrupted? Compare its size with the original's ({error})"
            ) from error
        raise ValueError(f"{path} is not an HDF5 file, or is corrupt ({error})") from error


def filter_ids(dataset: Any) -> tuple[int, ...]:
    """Return the numbers of the HDF5 filters that `dataset` was written with."""
    properties = dataset.id.get_create_plist()
    return tuple(properties.get_filter(i)[0] for i in range(properties.get_nfilters()))


def missing_filters(dataset: Any) -> tuple[int, ...]:
    """Return those of :func:`filter_ids` that HDF5 does not find on this host."""
    return tuple(number for number in filter_ids(dataset) if not _is_available(number))


def _is_available(number: int) -> bool:
    try:
        return bool(h5py.h5z.filter_avail(number))
    except (OSError, RuntimeError, ValueError):  # a plugin folder that cannot be read
        return False


def require_filters(path: Path, dataset: Any) -> None:
    """Check that `dataset` of the file `path` can be decompressed here.

    HDF5 itself complains only at the first read, and does not name the filter.

    Raises
    ------
    HDF5PluginMissingError
        If a filter is missing; the message says which, and what to do.
    """
    missing = missing_filters(dataset)
    if missing:
        raise plugin_error(path, missing)


def each_dataset(file: Any, look: Callable[[Any], None]) -> None:
    """Call `look` with every dataset of an open file."""

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            look(item)

    file.visititems(visit)


def plugin_error(path: Path, missing: tuple[int, ...]) -> HDF5PluginMissingError:
    """Make the error for a file that needs the filters `missing`."""
    configured = os.environ.get(PLUGIN_VARIABLE)
    if configured is None:
        state = f"{PLUGIN_VARIABLE} is not set"
    elif not Path(configured).is_dir():
        state = f"{PLUGIN_VARIABLE} is {configured}, which is not a folder"
    else:
        state = f"{PLUGIN_VARIABLE} is {configured}, which holds no plugin for it that loads"
    names = ", ".join(
        f"{number} (MaxWell's compression)" if number == MAXWELL_FILTER else str(number) for number in missing
    )
    if MAXWELL_FILTER in missing:
        hint = "Get MaxWell's HDF5 decompression library for your system from MaxWell Biosystems"
    else:
        hint = "Install the plugin (the package hdf5plugin has many)"
    return HDF5PluginMissingError(
        f"{path} is compressed with HDF5 filter {names}, which is not installed here; {state}. {hint}, and set "
        "hdf5_plugin_path to the folder that it is in",
        configured_path=configured,
    )
