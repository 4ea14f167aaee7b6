"""How a sort may end: the word that ``run.json`` keeps, and the plain name that people read everywhere."""

from __future__ import annotations

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError

DONE, FAILED = "done", "failed"
BIOLOGY, ENVIRONMENT, RESOURCE = "biological failure", "environment failure", "resource failure"
PLAIN_NAMES = {BIOLOGY: "nothing to sort", ENVIRONMENT: "cannot run here", RESOURCE: "out of resources"}


def plain_name(status: str) -> str:
    """Return the name of a status for people.

    Examples
    --------
    >>> from spikelab.spike_sorting.data.outcomes import plain_name
    >>> plain_name("biological failure"), plain_name("done")
    ('nothing to sort', 'done')
    """
    return PLAIN_NAMES.get(status, status)


def words_of(error: BaseException) -> str:
    """Write an error for people: with its class where it is neither one of this package nor of bad input."""
    if isinstance(error, SpikeSortingClassifiedError | ValueError | TypeError | FileNotFoundError | FileExistsError):
        return str(error)
    return f"{type(error).__name__}: {error}"
