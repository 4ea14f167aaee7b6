"""The outcome of one curation criterion."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class CriterionResult(TypedDict):
    """Metric and verdict for each unit that reached a criterion, both of shape (N,)."""

    metric: NDArray[np.float64] | NDArray[np.int64]
    passed: NDArray[np.bool_]
