"""Stimulation pulses of a recording, and the annotation that carries them on a SpikeInterface recording."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data.arrays import IntArray

PULSES_ANNOTATION = "spikelab_pulses"


def _none() -> IntArray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Pulses:
    """Stimulation pulses, in order.

    Attributes
    ----------
    frames : numpy.ndarray of int64, shape (pulses,)
        First frames, on the clock of the sorted (concatenated) recording.
    sites : numpy.ndarray of int64, shape (pulses,)
        Which of `names` was stimulated.
    names : tuple of str
        Sites; "" where nobody named them.
    bridged : numpy.ndarray of int64, shape (pulses,)
        For how many frames from the first on some channel is bridged. Empty where it is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.data import Pulses
    >>> len(Pulses(np.array([20_000, 40_000]), np.array([0, 1]), ("E12", "E40")))
    2
    """

    frames: IntArray = field(default_factory=_none)
    sites: IntArray = field(default_factory=_none)
    names: tuple[str, ...] = ()
    bridged: IntArray = field(default_factory=_none)

    def __len__(self) -> int:
        return len(self.frames)

    def to_dict(self) -> dict[str, Any]:
        """Describe the pulses for JSON."""
        named = {"frames": self.frames.tolist(), "sites": self.sites.tolist(), "names": list(self.names)}
        return {**named, "bridged": self.bridged.tolist()} if len(self.bridged) else named

    @classmethod
    def from_dict(cls, values: Mapping[str, Any] | None) -> Pulses:
        """Make pulses of what :meth:`to_dict` gave; none of None."""
        if values is None:
            return cls()
        frames, sites = (np.asarray(values[name], dtype=np.int64) for name in ("frames", "sites"))
        return cls(frames, sites, tuple(values["names"]), np.asarray(values.get("bridged", ()), dtype=np.int64))


def annotate_pulses(recording: BaseRecording, pulses: Pulses) -> None:
    """Store the pulses as an annotation of `recording`; nothing where there are none."""
    if len(pulses):
        recording.annotate(**{PULSES_ANNOTATION: json.dumps(pulses.to_dict())})


def pulses_of(recording: BaseRecording) -> Pulses:
    """Read the pulses of a recording from its annotation; none without one."""
    text = recording.get_annotation(PULSES_ANNOTATION)
    return Pulses.from_dict(None if text is None else json.loads(text))
