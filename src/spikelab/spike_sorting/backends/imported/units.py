"""Units that another program found: their ids and spikes, and what it says of each."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.system.json_files import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import IntArray

LABEL = "label"
LABELS = ("quality", "curated_label", "label", "KSLabel", "ks_unitType")
PHY_LABEL = "group"  # in a folder of phy; elsewhere a group of channels has this name
MOST_LISTED = 8


@dataclass(frozen=True)
class ImportedUnits:
    """Units as they are in a folder or file that another program wrote.

    Attributes
    ----------
    kind : str
        What was read, for messages: "a phy folder".
    path : Path
    ids : tuple of str
        Ids that the other program gave.
    times : tuple of numpy.ndarray
        Spikes of each unit, ascending: frames (int64) of the recording or of its segment, or seconds (float64).
    rate : float or None
        Sampling rate in Hz that the frames count; None where the source does not say it, and for seconds.
    segments : tuple of numpy.ndarray of int64, or None
        Segment of each spike, where the recording had several.
    columns : dict of str to tuple
        What the source says of each unit, by name: a text, a number, or None.
    empty : tuple of str
        Ids that the source names and that have no spikes: they are no units here.
    n_channels : tuple of int
        Numbers of channels that the recording may have; empty where the source does not say.
    label_columns : tuple of str
        Columns that hold what a person or a program calls a unit; the first that has a word for it counts.
    """

    kind: str
    path: Path
    ids: tuple[str, ...]
    times: tuple[NDArray[Any], ...]
    rate: float | None = None
    segments: tuple[IntArray, ...] | None = None
    columns: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    n_channels: tuple[int, ...] = ()
    label_columns: tuple[str, ...] = LABELS

    @property
    def in_seconds(self) -> bool:
        """Whether spikes are in seconds, rather than in frames."""
        return any(train.dtype.kind == "f" for train in self.times)

    @property
    def n_spikes(self) -> int:
        """Number of spikes of all units."""
        return sum(map(len, self.times))

    @property
    def has_segments(self) -> bool:
        """Whether spikes are in several segments of a recording."""
        return self.segments is not None and any(own.any() for own in self.segments)

    @property
    def labels(self) -> tuple[str | None, ...]:
        """What the source calls each unit, such as "good"."""
        known = [self.columns[name] for name in self.label_columns if name in self.columns]
        return tuple(
            next((str(values[unit]) for values in known if values[unit] not in (None, "")), None)
            for unit in range(len(self.ids))
        )

    def content(self) -> str:
        """Return a short text that changes with ids, spikes, rate and columns, whatever file they are in."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(json.dumps([self.ids, self.rate, plain(dict(self.columns))], sort_keys=True).encode())
        for array in (*self.times, *(self.segments or ())):
            digest.update(f"{array.dtype} {len(array)}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def take(self, rows: Collection[int]) -> ImportedUnits:
        """Keep the units at some rows."""
        return replace(
            self,
            ids=tuple(self.ids[row] for row in rows),
            times=tuple(self.times[row] for row in rows),
            segments=None if self.segments is None else tuple(self.segments[row] for row in rows),
            columns={name: tuple(values[row] for row in rows) for name, values in self.columns.items()},
        )

    def labelled(self, labels: Collection[str]) -> ImportedUnits:
        """Keep the units with one of some labels; ValueError, with the labels there are, where none has one."""
        rows = [row for row, label in enumerate(self.labels) if (label or "").casefold() in _lower(labels)]
        if not rows:
            there = some(sorted({label for label in self.labels if label}))
            raise ValueError(f"no unit of {self.path} has the label {' or '.join(labels)}; there are {there}")
        return self.take(rows)


def _lower(labels: Collection[str]) -> set[str]:
    return {label.casefold() for label in labels}


def some(names: Collection[Any]) -> str:
    """List names, the first of many; "none" for no names."""
    listed = list(map(str, names))
    more = f" and {len(listed) - MOST_LISTED} more" if len(listed) > MOST_LISTED else ""
    return ", ".join(listed[:MOST_LISTED]) + more if listed else "none"
