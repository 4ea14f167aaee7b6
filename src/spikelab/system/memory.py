"""The budget ``total_memory``: amounts as text, the share left for arrays, and the return of free memory.

The budget bounds the memory of the process that the system cannot take back while the process runs (the anonymous
resident memory; ``RssAnon`` in ``/proc/<pid>/status``): the interpreter, libraries, compiled code and all arrays. A
process that exceeds such a limit is ended by a container or a batch system. Not counted are

- pages of files that are mapped, of libraries and of recordings: the system drops them when it needs the room;
- memory of the caller's process beyond the libraries: recordings in memory, results of earlier sorts;
- memory that a reader of a foreign format keeps;
- external sorters, in processes of their own, and the memory of GPUs.
"""

from __future__ import annotations

import ctypes
import math
import re
import sys

from spikelab.system.json_files import scalar

MEMORY = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<prefix>[KMGT]?)(?P<binary>i?)B?", re.IGNORECASE)
LEAST_MEMORY = 1_000_000
LARGEST_INTEGER = 2**64
MB = 10**6
USABLE_SHARE = 0.8  # of the available memory; the rest is for the system and mapped files
# The interpreter, the libraries that a sort loads, and code compiled at the first run on a machine.
LIBRARIES_BYTES = 230 * MB
RT_SORT_BYTES = LIBRARIES_BYTES + 100 * MB  # RT-Sort has more compiled code
# Pages of mapped files at a time: libraries, and a chunk of the recording.
MAPPED_BYTES = 300 * MB


def parse_memory(value: str | int) -> int:
    """Convert an amount of memory to bytes.

    ``"16G"``, ``"500M"``, ``"1.5 GB"`` are powers of 1000, ``"16Gi"`` of 1024; a number is one of bytes.
    """
    value = scalar(value)
    match = MEMORY.fullmatch(str(value).strip())
    if isinstance(value, bool | float) or match is None:
        raise ValueError(f"not an amount of memory: {value!r}; write for example '16G', '500M' or a number of bytes")
    base = 1024 if match["binary"] else 1000
    amount = float(match["number"]) * base ** " KMGT".index(match["prefix"].upper() or " ")
    if amount > LARGEST_INTEGER:
        raise ValueError("not an amount of memory: more than 16 exabytes")
    size = int(amount)
    if size < 1:
        raise ValueError(f"less than one byte of memory: {value!r}")
    return size


def for_work(total_memory: str | int) -> int:
    """Return the bytes left for arrays, beside the libraries."""
    return max(0, parse_memory(total_memory) - LIBRARIES_BYTES)


def requested_memory(total_memory: str | int) -> int:
    """Return the bytes to request from a batch system, which may count pages of mapped files too."""
    total = parse_memory(total_memory)
    return max(total + MAPPED_BYTES, math.ceil(total / USABLE_SHARE))


def format_memory(n_bytes: int) -> str:
    """Write an amount of memory, rounded up, as ``total_memory`` takes it: ``"430M"``."""
    return f"{-(-n_bytes // MB)}M"


def too_little(total: int, least: int, what: str) -> str:
    """State that `total` bytes are less than the `least` that `what` takes."""
    return (
        f"total_memory={format_memory(total)} is less than the least, {format_memory(least)}, that {what} take: "
        f"set total_memory to at least '{format_memory(least)}'"
    )


def release() -> None:
    """Give free memory back to the system; the C library would keep it for later allocations."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc
        trim(0)
