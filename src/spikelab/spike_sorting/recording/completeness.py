"""Check that all values that a file claims are there: readers return zeros for values never written, or lost."""

from __future__ import annotations

import itertools
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.trust import json_of, zarr_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LARGEST_TABLE = 64 << 20
"""Bytes that a table beside the traces may claim: it is read at once."""
LARGEST_CHUNK = 1 << 28
"""Bytes that a chunk of traces may claim: it is unpacked at once."""
MOST_ITERATED, MOST_LOOKED_UP, BYTES_LOOKED_UP = 20_000, 500, 1 << 25
"""Limits for checking the places of all chunks, and for looking up each; either takes a tenth of a second."""
TRACES = ("traces_seg", "times_seg")
NAMED = 3
WHAT_TO_DO = (
    "was the copy interrupted? Compare it with the original. To sort what is there, open it with SpikeInterface, cut "
    "out the frames that are complete (frame_slice), and hand that over as a recording in memory"
)


def require_written(path: Path, dataset: Any) -> None:
    """Check that HDF5 has values for all of `dataset`, before the end of the file and in chunks of possible size."""
    claimed = n_bytes(dataset)
    if claimed == 0 or dataset.is_virtual or dataset.external:
        return
    if dataset.chunks is not None:
        _require_chunks(path, dataset)
        return
    offset = dataset.id.get_offset()
    if offset is None and dataset.id.get_storage_size() == 0:
        raise ValueError(f"{path}: {dataset.name} claims {claimed} bytes, and none was written: all would be read as 0")
    if offset is not None and offset + claimed > path.stat().st_size:
        raise ValueError(
            f"{path}: {dataset.name} claims {dataset.shape} values of {dataset.dtype}, {claimed} bytes from {offset} "
            f"on; the file ends at {path.stat().st_size}: it is cut, or its header is damaged"
        )


def _require_chunks(path: Path, dataset: Any) -> None:
    of_chunk = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if of_chunk > LARGEST_CHUNK:
        raise ValueError(f"{path}: {dataset.name} claims chunks of {dataset.chunks} values, {of_chunk} bytes each")
    expected, found = n_chunks(dataset.shape, dataset.chunks), dataset.id.get_num_chunks()
    if found < expected:
        raise ValueError(
            f"{path}: {dataset.name} has {found} of the {expected} chunks of its {dataset.shape} values; the "
            f"others would be read as {dataset.fillvalue}: {WHAT_TO_DO}"
        )
    if found <= MOST_ITERATED:
        few = found <= MOST_LOOKED_UP and dataset.id.get_storage_size() <= BYTES_LOOKED_UP
        _require_index(path, dataset, look_up=few)


def _require_index(path: Path, dataset: Any, *, look_up: bool) -> None:
    """Check that every chunk has a place of its own and, with `look_up`, that HDF5 finds each chunk there.

    HDF5 compares more of an index than its functions report: only reading a packed chunk shows that it is found.
    """
    end, found = path.stat().st_size, set()

    def visit(chunk: Any) -> None:
        at = zip(chunk.chunk_offset, dataset.shape, dataset.chunks, strict=True)
        inside = all(0 <= first < n and first % size == 0 for first, n, size in at)
        if inside and chunk.byte_offset is not None and chunk.byte_offset + chunk.size <= end:
            found.add(chunk.chunk_offset)

    dataset.id.chunk_iter(visit)
    missing = n_chunks(dataset.shape, dataset.chunks) - len(found)
    if look_up and not missing:
        missing = sum(not _is_found(dataset, place) for place in found)
    if missing:
        raise ValueError(
            f"{path}: the index of {dataset.name} is damaged: HDF5 would not find {missing} of its chunks, and read "
            f"{dataset.fillvalue} instead: {WHAT_TO_DO}"
        )


def _is_found(dataset: Any, place: tuple[int, ...]) -> bool:
    try:
        dataset.id.read_direct_chunk(place)
    except RuntimeError:
        return False
    return True


def require_plain_numbers(path: Path, dataset: Any) -> None:
    """Check that traces are of a type that writers use: numbers that fill whole bytes."""
    kind = dataset.id.get_type()
    if dataset.dtype.kind not in "iuf":
        raise ValueError(f"{path}: {dataset.name} has values of {dataset.dtype}, not numbers")
    if kind.get_offset() != 0 or kind.get_precision() != 8 * kind.get_size():
        raise ValueError(
            f"{path}: {dataset.name} has numbers of {kind.get_precision()} bits from bit {kind.get_offset()} on in "
            f"{kind.get_size()} bytes, as no writer makes them: its type is damaged"
        )


def read_table(path: Path, dataset: Any) -> Any:
    """Read a small dataset that lies in the file itself, and is all there."""
    if not hasattr(dataset, "shape") or dataset.shape is None:
        raise ValueError(f"{path}: {dataset.name} is no table of values")
    claimed = n_bytes(dataset)
    if claimed > LARGEST_TABLE:
        raise ValueError(f"{path}: {dataset.name} claims {dataset.shape} values, {claimed} bytes: it is damaged")
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{path}: the values of {dataset.name} are in another file: copy them into this one")
    require_written(path, dataset)
    return dataset[()]


def n_bytes(dataset: Any) -> int:
    """Return the bytes that the values of a dataset claim."""
    return math.prod(dataset.shape or ()) * int(dataset.dtype.itemsize)


def n_chunks(shape: Sequence[int], chunks: Sequence[int]) -> int:
    """Return how many chunks cover `shape`."""
    return math.prod(-(-n // size) for n, size in zip(shape, chunks, strict=True))


def require_chunk_files(store: Path) -> None:
    """Check that every chunk of every array of a zarr store is there, and that the arrays are possible."""
    for folder in zarr_arrays(store):
        shape, chunks, separator = _array_header(store, folder)
        expected = n_chunks(shape, chunks)
        present = _chunk_names(folder, separator)
        if len(present) >= expected:
            continue
        absent = (key for key in _chunk_keys(shape, chunks, separator) if key not in present)
        missing = ", ".join(itertools.islice(absent, NAMED)) + (" ..." if expected - len(present) > NAMED else "")
        raise ValueError(
            f"{store} has {len(present)} of the {expected} chunks of {folder.relative_to(store)}; missing are "
            f"{missing}, which would be read as zeros: {WHAT_TO_DO}"
        )


def _chunk_keys(shape: Sequence[int], chunks: Sequence[int], separator: str) -> Iterator[str]:
    """Yield the names of all chunks, the last axis fastest; lazily, as a damaged file may claim any number."""
    if not shape:
        yield "0"
        return
    for i in range(-(-shape[0] // chunks[0])):
        for rest in _chunk_keys(shape[1:], chunks[1:], separator) if len(shape) > 1 else ("",):
            yield f"{i}{separator}{rest}" if rest else str(i)


def _array_header(store: Path, folder: Path) -> tuple[list[int], list[int], str]:
    """Read shape, chunks and separator of an array from its description, and check that they are possible."""
    meta = json_of(folder / ".zarray")
    shape, chunks = _sizes(meta.get("shape"), 0), _sizes(meta.get("chunks"), 1)
    name, separator = folder.relative_to(store), meta.get("dimension_separator") or "."
    if shape is None or chunks is None or len(shape) != len(chunks) or separator not in (".", "/"):
        said = ", ".join(f"{key} {str(meta.get(key))[:100]}" for key in ("shape", "chunks", "dimension_separator"))
        raise ValueError(f"{store}: {name} is described by {said}, which no array has")
    _require_possible_sizes(store, name, shape, chunks, meta.get("dtype"))
    return shape, chunks, separator


def _require_possible_sizes(store: Path, name: Path, shape: list[int], chunks: list[int], dtype: Any) -> None:
    item = np.dtype(dtype).itemsize if isinstance(dtype, str) else 1
    if math.prod(chunks) * item > LARGEST_CHUNK:
        raise ValueError(f"{store}: {name} claims chunks of {chunks} values: its description is damaged")
    if math.prod(shape) * item > LARGEST_TABLE and not name.name.startswith(TRACES):
        raise ValueError(f"{store}: {name} claims {shape} values: its description is damaged")


def _sizes(values: Any, least: int) -> list[int] | None:
    """Return the values of a shape, or None if they are no shape."""
    if isinstance(values, list) and all(type(value) is int and value >= least for value in values):
        return values
    return None


def _chunk_names(folder: Path, separator: str) -> set[str]:
    if separator == ".":
        return {name for name in os.listdir(folder) if not name.startswith(".")}  # noqa: PTH208  of thousands, fast
    files = (entry for entry in folder.rglob("*") if entry.is_file() and not entry.name.startswith("."))
    return {entry.relative_to(folder).as_posix() for entry in files}
