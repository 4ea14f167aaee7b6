"""What spike data hold and how units are selected: all that the functions on them need of the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar

import numpy as np

from spikelab.spikedata import _validation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray


class BaseSpikeData:
    """Spike trains, unit attributes, metadata and raw traces; see :class:`~spikelab.spikedata.SpikeData`."""

    def __init__(
        self,
        train: Sequence[ArrayLike],
        *,
        N: int | None = None,
        length: float | None = None,
        start_time: float = 0,
        neuron_attributes: Sequence[Mapping[str, Any]] | None = None,
        metadata: Mapping[str, Any] | None = None,
        raw_data: ArrayLike | None = None,
        raw_time: float | ArrayLike | None = None,
    ) -> None:
        self.start_time = _validation.finite_time(start_time, "start_time")
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.train = _validation.sorted_trains(train, N)
        self.neuron_attributes: list[dict[str, Any]] | None = _validation.attributes(neuron_attributes, len(self.train))
        self.raw_data, self.raw_time = _validation.raw_traces(
            raw_data, raw_time, self.start_time, self.metadata.get("fs_Hz")
        )
        self.length = _validation.data_length(length, self.start_time, self.train, self.raw_time)

    @property
    def N(self) -> int:  # noqa: N802  (the name of the specification)
        """Number of units."""
        return len(self.train)

    @property
    def end_time(self) -> float:
        """End of the data in ms: ``start_time + length``."""
        return self.start_time + self.length

    @property
    def unit_attributes(self) -> list[dict[str, Any]]:
        """``neuron_attributes`` to read: one dict per unit, empty where none were given.

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> sd = SpikeData([[10], [35]])
        >>> sd.neuron_attributes is None, sd.unit_attributes
        (True, [{}, {}])
        """
        return [{} for _ in self.train] if self.neuron_attributes is None else self.neuron_attributes

    @property
    def unit_ids(self) -> list[Any]:
        """``unit_id`` of each unit; the index of a unit without one."""
        return [attributes.get("unit_id", index) for index, attributes in enumerate(self.unit_attributes)]

    @property
    def spike_counts(self) -> NDArray[np.int64]:
        """Number of spikes per unit, shape (N,)."""
        return np.array([len(times) for times in self.train], dtype=np.int64)

    def __repr__(self) -> str:
        return (
            f"SpikeData(N={self.N}, {int(self.spike_counts.sum())} spikes, [{self.start_time:g}, {self.end_time:g}] ms)"
        )

    def __eq__(self, other: object) -> bool:
        """Compare content: same types, dtypes and values throughout; NaN equals NaN."""
        if not isinstance(other, BaseSpikeData):
            return NotImplemented
        return equal(vars(self), vars(other))

    __hash__ = None  # type: ignore[assignment]  # the arrays can change

    def replace(self, **changes: Any) -> Self:
        """Build a copy with some constructor arguments changed.

        Parameters
        ----------
        **changes
            Arguments of the constructor.

        Returns
        -------
        SpikeData

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> SpikeData([[10, 20], [15]], length=100).replace(length=200)
        SpikeData(N=2, 3 spikes, [0, 200] ms)
        """
        return type(self)(**{**vars(self), **changes})

    def subset(self, units: ArrayLike | Iterable[Any], by: str | None = None, preserve_order: bool = False) -> Self:
        """Keep some units, each once, in the order of the data.

        Parameters
        ----------
        units : scalar or sequence
            Indices from 0 to N - 1 (whole numbers of any type) or a boolean mask of shape (N,); with `by`, values of
            that attribute.
        by : str, optional
            Name of a neuron attribute, for example ``"unit_id"``. Every unit with a named value is kept. A name that
            no unit has is warned of, and no unit is kept.
        preserve_order : bool, default False
            Whether the units come in the order in which `units` names them.

        Returns
        -------
        SpikeData

        Raises
        ------
        ValueError
            An index is negative, out of range or no whole number, a mask has another length than N, or no unit has a
            named value.

        Examples
        --------
        >>> from spikelab import SpikeData
        >>> sd = SpikeData([[10], [5, 15], []], length=100, neuron_attributes=[{"unit_id": i} for i in (4, 8, 9)])
        >>> sd.subset([1, 0]).unit_ids, sd.subset([1, 0], preserve_order=True).unit_ids
        ([4, 8], [8, 4])
        >>> sd.subset(9, by="unit_id").unit_ids
        [9]
        """
        index = _validation.unit_index(units, self.N, self.unit_attributes, by)
        chosen = list(dict.fromkeys(index)) if preserve_order else sorted(set(index))
        return self.replace(
            train=[self.train[i] for i in chosen],
            neuron_attributes=self.neuron_attributes and [self.neuron_attributes[i] for i in chosen],
        )


Data = TypeVar("Data", bound=BaseSpikeData)


class CriterionResult(TypedDict):
    """Metric and verdict of one curation criterion for each unit that reached the criterion, both of shape (N,)."""

    metric: NDArray[np.float64] | NDArray[np.int64]
    passed: NDArray[np.bool_]


def equal(a: Any, b: Any) -> bool:
    """Whether `a` and `b` have the same type and content, dtypes included; NaN equals NaN."""
    if isinstance(a, np.ndarray):
        return _equal_array(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    # NaN and NaT are the values that differ from themselves.
    return bool(a == b) or bool(a != a and b != b)


def _equal_array(a: NDArray[Any], b: Any) -> bool:
    return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fcmM")
