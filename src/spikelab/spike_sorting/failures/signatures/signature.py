"""One recognisable failure: words, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError

Evidence = Callable[[str], "dict[str, Any] | None"]


@dataclass(frozen=True)
class Signature:
    """One recognisable failure.

    Attributes
    ----------
    pattern : str
        Regular expression, without regard to case; ``.`` does not cross lines. Named groups become fields of the error
        (digits as int).
    error : type
        What is raised.
    message : str
        Likely causes in order, and what to check first.
    fields : mapping
        Further fields of the error.
    sorters : tuple of str
        Prefixes of the sorters it applies to; empty = any.
    unless, where : str or None
        Further expressions: one that must not be found anywhere, one that must.
    said : bool
        Whether the words are of a message: they do not count as part of a path or name, nor where they are denied
        ("no CUDA out of memory", "out of memory handling").
    by_exception : bool
        Whether only what exceptions say is looked at, not the logs.
    evidence : callable or None
        Looks at the whole text: fields of the error, or None where the numbers say that it is something else.
    """

    pattern: str
    error: type[SpikeSortingClassifiedError]
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    sorters: tuple[str, ...] = ()
    unless: str | None = None
    where: str | None = None
    said: bool = False
    by_exception: bool = False
    evidence: Evidence | None = None
