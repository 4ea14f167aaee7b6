"""Compilation of inner loops by numba; they release the GIL, so that threads run them side by side.

Division by zero gives infinity or NaN, as in numpy. Some one-line expressions of numpy take seconds to compile, where a
loop takes a tenth: assignment of an array to a slice, sorting, ``view``, ``trace``.

Machine code is kept on disk under a digest of the kernel and of all that is compiled into it (:func:`ingredients`).
Numba's own cache checks only whether the file of the function has changed, not its callees and constants elsewhere.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, TypeVar, cast

import numpy as np
from numba import __version__ as numba_version
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher

from spikelab.system.progress import COMPILING

logger = logging.getLogger(__name__)
Kernel = TypeVar("Kernel", bound=Callable[..., Any])
CONSTANTS = (bool, int, float, complex, str, np.generic, type(None))


def compiled(function: Kernel) -> Kernel:
    """Compile on first use; keep the machine code on disk where some cache folder can be written."""
    return _compiled(function, fastmath=False)


def contracted(function: Kernel) -> Kernel:
    """Compile like :func:`compiled`; a product and the sum it is part of may be rounded once instead of twice."""
    return _compiled(function, fastmath={"contract"})


def _compiled(function: Kernel, fastmath: bool | set[str]) -> Kernel:
    kernel: Any = njit(nogil=True, fastmath=fastmath, error_model="numpy")(function)
    if kernel is function:  # NUMBA_DISABLE_JIT
        return function
    with suppress(RuntimeError):  # numba finds no folder for a cache (read-only install, no home folder)
        kernel._cache = _Cache(kernel)
    compile_now = kernel.compile

    def compile_whole(signature: Any) -> Any:
        with reraised_interrupts(), COMPILING.time():
            return compile_now(signature)

    kernel.compile = compile_whole
    return cast("Kernel", kernel)


@contextmanager
def reraised_interrupts() -> Iterator[None]:
    """Raise at the end an interrupt that ended one of the compiler's callbacks: Ctrl-C, a signal, the end of a batch.

    LLVM calls Python back while compiling, and Python drops exceptions that are raised there.
    """
    swallowed: list[BaseException] = []

    def catch(lost: Any) -> None:
        if isinstance(lost.exc_value, BaseException) and not isinstance(lost.exc_value, Exception):
            swallowed.append(lost.exc_value)
        else:
            before(lost)

    with global_compiler_lock:  # numba compiles in one thread at a time anyway
        before, sys.unraisablehook = sys.unraisablehook, catch
        try:
            yield
        finally:
            sys.unraisablehook = before
            if swallowed:
                raise swallowed[0]


class _Cache(FunctionCache):
    """Machine code of one kernel on disk, one file per signature and digest of the ingredients."""

    def __init__(self, kernel: Any) -> None:
        super().__init__(kernel.py_func)  # type: ignore[no-untyped-call]
        self._kernel = kernel
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, None)  # type: ignore[no-untyped-call]

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return sig, codegen.magic_tuple(), numba_version, ingredients(self._kernel)


class _Files(IndexDataCacheFile):
    """Files named by their content: there is no index that two processes could write at once."""

    def load(self, key: Any) -> Any:
        try:
            held, data = self._load_data(self._name(key))  # type: ignore[no-untyped-call]
        except (OSError, EOFError, pickle.UnpicklingError):  # none yet, or cut by a power failure
            _say_once()
            return None
        return data if held == repr(key) else None

    def save(self, key: Any, data: Any) -> None:
        self._save_data(self._name(key), (repr(key), data))  # type: ignore[no-untyped-call]

    def _name(self, key: Any) -> str:
        return f"{self._index_name.removesuffix('.nbi')}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"


@cache
def _say_once() -> None:
    logger.info("compiling, once on this machine and version: this sort takes up to some minutes longer")


def ingredients(kernel: Any) -> str:
    """Digest all that goes into the machine code of a kernel: its code, the code of its callees, options and constants.

    A TypeError names an object of any other kind, whose changes could not be noticed.
    """
    digest = hashlib.sha256()
    found: list[Any] = [kernel]
    for used in found:  # the loop extends the list
        function = used.py_func
        options = sorted((name, str(value)) for name, value in used.targetoptions.items())
        digest.update(repr((function.__qualname__, options, function.__defaults__)).encode())
        cells = (cell.cell_contents for cell in function.__closure__ or ())
        names = {**function.__globals__, **dict(zip(function.__code__.co_freevars, cells, strict=True))}
        for name, value in _parts(function.__code__, names):
            if isinstance(value, Dispatcher):
                digest.update(f"{name} is {value.py_func.__module__}.{value.py_func.__qualname__}".encode())
                if not any(value is other for other in found):
                    found.append(value)
            else:
                digest.update(f"{name} = {_described(name, value, function)}".encode())
    return digest.hexdigest()


def _parts(code: CodeType, names: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """List the instructions of a function, its constants, and the values of the names in it."""
    yield "instructions", code.co_code.hex()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant, names)
        else:
            yield "constant", constant
    for name in (*code.co_names, *code.co_freevars):
        yield name, names.get(name, name)  # attributes and builtins are represented by their name


def _described(name: str, value: Any, function: FunctionType) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
    if isinstance(value, (tuple, frozenset)) and all(isinstance(item, CONSTANTS) for item in value):
        return repr(value)
    if isinstance(value, CONSTANTS):
        return f"{type(value).__name__} {value!r}"
    if isinstance(value, (ModuleType, BuiltinFunctionType)) and value.__name__.partition(".")[0] in {"numpy", "math"}:
        return value.__name__
    raise TypeError(
        f"{function.__module__}.{function.__qualname__} uses {name}, a {type(value).__name__}: a kernel may use other "
        "kernels, numbers, texts, tuples, arrays and numpy; of nothing else it is known when it changes"
    )
