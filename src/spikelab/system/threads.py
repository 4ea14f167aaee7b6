"""Threads that work for the run that started them: what they log and warn of is that run's."""

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
    """A pool of threads whose tasks see the context variables of whoever submits them.

    The threads of the standard library's pool do not: what a task logs there could be of any run in this process.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start ``fn(*args, **kwargs)`` in a copy of the caller's context."""
        return super().submit(partial(copy_context().run, fn), *args, **kwargs)
