"""A signature of a failure: words in exceptions and logs, and the error that they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError

Evidence = Callable[[str], "dict[str, Any] | None"]


@dataclass(frozen=True)
class Signature:
    """Words in exceptions and logs, and the error that they mean.

    Attributes
    ----------
    pattern : str
        Regular expression, without regard to case; ``.`` does not cross lines. Named groups become fields of the error
        (digits as int).
    error : type
        Class of the error.
    message : str
        Likely causes in order, and what to check first.
    fields : mapping
        Further fields of the error.
    sorters : tuple of str
        Prefixes of the sorters it applies to; empty = any.
    unless, where : str or None
        Further expressions: one that must not be found anywhere, one that must.
    as_statement : bool
        Whether the words count only as a statement: not as part of a path or name, nor where they are denied
        ("no CUDA out of memory", "out of memory handling").
    by_exception : bool
        Whether only exceptions are searched, not the logs.
    evidence : callable or None
        Function of the whole text: fields of the error, or None where the numbers contradict it.
    """

    pattern: str
    error: type[SpikeSortingClassifiedError]
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    sorters: tuple[str, ...] = ()
    unless: str | None = None
    where: str | None = None
    as_statement: bool = False
    by_exception: bool = False
    evidence: Evidence | None = None
