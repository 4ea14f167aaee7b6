"""What is done with each frame after the band-pass, across its channels: plain lists, which JSON keeps."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Steps:
    """What is done with each frame, in this order; channels are positions in the recording.

    Attributes
    ----------
    order : list of int
        All channels; sums are taken in this order.
    interpolated : list of int
        Channels that are replaced by the others.
    weights : list of list of float
        Those of each interpolated channel over all channels, those that are interpolated having none.
    columns : list of list of int
        Channels of each column that is high-passed, by depth; no channel is in two.
    references : list of (list of int, list of int)
        Channels, and those whose median or average is subtracted from them; no channel is in two of the first lists.
    operator : str
        "median" or "average".
    """

    order: list[int]
    interpolated: list[int] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)
    columns: list[list[int]] = field(default_factory=list)
    references: list[tuple[list[int], list[int]]] = field(default_factory=list)
    operator: str = "median"
