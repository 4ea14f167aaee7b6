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
    """Words in exceptions and logs, and the error that they mean."""

    pattern: str  # without regard to case; ``.`` does not cross lines; named groups become fields of the error
    error: type[SpikeSortingClassifiedError]
    message: str  # likely causes in order, and what to check first
    fields: Mapping[str, Any] = field(default_factory=dict)  # further fields of the error
    sorters: tuple[str, ...] = ()  # prefixes of the sorters that have these words; empty = any
    unless: str | None = None  # expression that must not be found anywhere
    where: str | None = None  # expression that must be found somewhere
    # The words count only as a statement: not as part of a path or name, nor where they are denied ("no CUDA out of
    # memory", "out of memory handling").
    as_statement: bool = False
    by_exception: bool = False  # only exceptions are searched, not the logs
    evidence: Evidence | None = None  # fields from the whole text; None where its numbers contradict the error
