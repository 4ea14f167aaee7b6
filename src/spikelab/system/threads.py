"""Threads whose log records and warnings belong to the run that started them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class ThreadPool(ThreadPoolExecutor):
    """Thread pool whose tasks see the context variables of the thread that submits them.

    In the standard library's pool they do not, and a log record could not be assigned to its run.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start ``fn(*args, **kwargs)`` in a copy of the caller's context."""
        return super().submit(partial(copy_context().run, fn), *args, **kwargs)
