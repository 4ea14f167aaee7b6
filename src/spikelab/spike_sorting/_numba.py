"""Compile inner loops; they release the GIL, so that threads run them side by side.

Dividing by zero gives infinity or NaN there, as in numpy, instead of an exception: less to compile, and to run.

What numpy offers in one line costs seconds to compile: assignment of an array to a slice (its shapes are checked, and
a message is made of them), sorting, ``view``, ``trace``. A loop does the same in a tenth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compile on first use; keep the machine code on disk where some cache folder can be written."""
    return _compiled(function, fastmath=False)


def contracted(function: Kernel) -> Kernel:
    """Compile like :func:`compiled`; a product and the sum it is part of may be rounded once instead of twice."""
    return _compiled(function, fastmath={"contract"})


def _compiled(function: Kernel, fastmath: bool | set[str]) -> Kernel:
    kernel: Any
    try:
        kernel = njit(cache=True, nogil=True, fastmath=fastmath, error_model="numpy")(function)
    except RuntimeError:  # numba's word for: no place for a cache (read-only install, no home folder)
        kernel = njit(nogil=True, fastmath=fastmath, error_model="numpy")(function)
    return cast("Kernel", kernel)
