"""Open HDF5 files, with errors for corrupt and truncated files, and for compression filters that are not installed."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py

from spikelab.spike_sorting._exceptions import HDF5PluginMissingError
from spikelab.spike_sorting.recording.read_errors import OF_THE_SYSTEM, OPEN_ELSEWHERE, is_locked

PLUGIN_VARIABLE = "HDF5_PLUGIN_PATH"
MAXWELL_FILTER = 401
HEAP = b"GCOL\x01\0\0\0"
SCANNED_BYTES = 1 << 24
PATIENCE_S = 10.0
READ_ALL = """
import sys, h5py
with h5py.File(sys.argv[1]) as file:
    dict(file.attrs)
    file.visititems(lambda _, item: dict(item.attrs) and None)
"""


def set_plugin_path(path: str | Path) -> None:
    """Make HDF5 look for compression plugins in the folder `path`, in this process and its children.

    HDF5 reads ``HDF5_PLUGIN_PATH`` before its first look-up, h5py's own list also after it: both are set.
    """
    folder = os.fspath(path)
    os.environ[PLUGIN_VARIABLE] = folder
    known = {h5py.h5pl.get(i) for i in range(h5py.h5pl.size())}
    if os.fsencode(folder) not in known:
        h5py.h5pl.append(os.fsencode(folder))


def open_hdf5(path: Path) -> Any:
    """Open `path` for reading; a ValueError says if it is empty, locked, truncated, corrupt or no HDF5 file."""
    _require_heaps(path)
    try:
        return h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        if is_locked(error):
            raise ValueError(f"{path} {OPEN_ELSEWHERE} ({error})") from error
        if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) in OF_THE_SYSTEM:
            raise
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty (0 bytes)") from error
        if "truncated" in str(error):
            raise ValueError(
                f"{path} is truncated: was the copy interrupted? Compare its size with the original's ({error})"
            ) from error
        raise ValueError(f"{path} is not an HDF5 file, or is corrupt ({error})") from error


def _require_heaps(path: Path) -> None:
    """Refuse a file that HDF5 would read for ever: one with an object of size 0, as in zeroed bytes, in a text heap.

    Both ends of the file are scanned, where writers put texts. A match may be chance or deleted content: a child
    process then reads the file, for `PATIENCE_S` at most.
    """
    try:
        status = path.stat()
    except OSError:
        return  # opening the file raises the better error
    if not _may_read_for_ever(path, status.st_size, status.st_mtime_ns):
        return
    command = [sys.executable, "-c", READ_ALL, str(path)]
    try:
        subprocess.run(command, timeout=PATIENCE_S, capture_output=True, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"{path} is corrupt: a heap of its texts has an object of no size, and HDF5 would read it for ever"
        ) from None


@lru_cache(maxsize=256)
def _may_read_for_ever(path: Path, size: int, _: int) -> bool:
    if size < len(HEAP):
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for start, end in ((0, min(size, SCANNED_BYTES)), (max(SCANNED_BYTES, size - SCANNED_BYTES), size)):
            at = content.find(HEAP, start, end)
            while at >= 0:
                if _has_empty_object(content, at, size):
                    return True
                at = content.find(HEAP, at + 8, end)
    return False


def _has_empty_object(content: mmap.mmap, at: int, size: int) -> bool:
    """Iterate a heap as HDF5 does: objects of index, size and content; index 0 is the free space."""
    end = min(at + int.from_bytes(content[at + 8 : at + 16], "little"), size)
    at += 16
    while at + 16 <= end:
        index, length = (int.from_bytes(content[at + a : at + b], "little") for a, b in ((0, 2), (8, 16)))
        if index == 0:
            return length == 0
        at += 16 + -(-length // 8) * 8
    return False


def items_by_name(file: Any) -> dict[str, Any]:
    """List the groups and datasets of an open file by their paths inside."""
    items: dict[str, Any] = {}
    file.visititems(items.__setitem__)
    return items


def filter_ids(dataset: Any) -> tuple[int, ...]:
    """Return the numbers of the HDF5 filters that `dataset` was written with."""
    properties = dataset.id.get_create_plist()
    return tuple(properties.get_filter(i)[0] for i in range(properties.get_nfilters()))


def missing_filters(dataset: Any) -> tuple[int, ...]:
    """Return the :func:`filter_ids` that HDF5 does not find on this host."""
    return tuple(number for number in filter_ids(dataset) if not _is_available(number))


def _is_available(number: int) -> bool:
    try:
        return bool(h5py.h5z.filter_avail(number))
    except (OSError, RuntimeError, ValueError):  # a plugin folder that cannot be read
        return False


def require_filters(path: Path, dataset: Any) -> None:
    """Check that `dataset` of the file `path` can be decompressed here.

    HDF5 itself complains only at the first read, and does not name the filter.
    """
    missing = missing_filters(dataset)
    if missing:
        raise plugin_error(path, missing)


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
