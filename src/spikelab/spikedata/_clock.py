"""Times of spikes on the clock of the recording, of the file, and of the wall."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from spikelab.spikedata import _epochs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData

# Epochs of one clock may overlap by this: frames divided by a rate that is off by 100 ppm, over ten seconds.
OVERLAP_MS = 1.0


@overload
def times(sd: BaseSpikeData, unit: int, clock: Literal["recording", "file"] = "recording") -> NDArray[np.float64]: ...
@overload
def times(sd: BaseSpikeData, unit: int, clock: Literal["wall"]) -> NDArray[np.datetime64]: ...
def times(
    sd: BaseSpikeData, unit: int, clock: Literal["recording", "file", "wall"] = "recording"
) -> NDArray[np.float64] | NDArray[np.datetime64]:
    """Return the spike times of a unit on one of three clocks.

    Parameters
    ----------
    sd : SpikeData
    unit : int
        Position of the unit.
    clock : {"recording", "file", "wall"}, default "recording"
        "recording" is `train`: it goes on without a gap where files were concatenated and where the recording has
        gaps. "file" is the clock of the file that the spike was recorded in, for example its timestamps. "wall" is
        date and time.

    Returns
    -------
    numpy.ndarray, shape (spikes,)
        In ms; for "wall", ``datetime64[us]``: UTC where the file names its time zone, else the local time of the file.

    Raises
    ------
    ValueError
        The recording does not say the time of its first frame or, for "wall", the date.

    Examples
    --------
    >>> from spikelab import SpikeData
    >>> clock = [{"ms": 0.0, "clock_s": 7.5, "zero": "2026-03-01T12:00:00"}]
    >>> sd = SpikeData([[10.0, 20.0]], length=100, metadata={"clock": clock})
    >>> sd.times(0, "file").tolist()
    [7510.0, 7520.0]
    >>> sd.times(0, "wall")[0].item().isoformat()
    '2026-03-01T12:00:07.510000'
    """
    train = sd.train[unit]
    if clock == "recording":
        return train.copy()
    if clock not in ("file", "wall"):
        raise ValueError(f'clock must be "recording", "file" or "wall", not {clock!r}')
    table = _table(sd)
    stretch, on_file = _on_file(table, train)
    if clock == "file":
        return on_file
    zeros = np.array([_zero(entry["zero"]) for entry in table], dtype="datetime64[us]")
    on_wall: NDArray[np.datetime64] = zeros[stretch] + np.rint(1000.0 * on_file).astype("timedelta64[us]")
    return on_wall


def stretches_on_file(sd: BaseSpikeData) -> NDArray[np.float64]:
    """Return start and end, in ms on the file's clock, of each stretch without a gap; shape (stretches, 2).

    ValueError where the recording has no clock of its own, or files with clocks that overlap.
    """
    table = _table(sd)
    starts = np.clip([entry["ms"] for entry in table], sd.start_time, sd.end_time)
    _, begun = _on_file(table, starts)
    scales = np.array([entry.get("scale", 1.0) for entry in table])
    spans: NDArray[np.float64] = np.column_stack([begun, begun + scales * np.diff([*starts, sd.end_time])])
    if len({entry["zero"] for entry in table}) > 1 or (spans[1:, 0] < spans[:-1, 1] - OVERLAP_MS).any():
        raise ValueError(
            "the clocks of the files overlap or have different zeros: no single line of time holds them. Take "
            'clock="recording", or one file after the other (split_epochs)'
        )
    return spans


def on_file(sd: BaseSpikeData, times_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put times in ms, of any shape, on the file's clock; ValueError where the recording has none of its own."""
    return _on_file(_table(sd), times_ms)[1]


def _table(sd: BaseSpikeData) -> list[dict[str, Any]]:
    """Return the entries of ``metadata["clock"]``."""
    table: list[dict[str, Any]] = sd.metadata.get(_epochs.CLOCK_KEY) or []
    unknown = sum(entry["clock_s"] is None for entry in table)
    if not table or unknown:
        which = f" in {unknown} of {len(table)} epochs" if 0 < unknown < len(table) else ""
        raise ValueError(
            f"the recording has no clock of its own (metadata['clock']){which}: its file does not say when its frames "
            'were recorded. Only clock="recording" is known'
        )
    return table


def _on_file(
    table: Sequence[Mapping[str, Any]], times: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the entry of the table in which each time lies, and the times on the file's clock, in ms."""
    stretch = _epochs.epoch_of(times, np.array([entry["ms"] for entry in table[1:]]))
    starts, begun, scales = (
        np.array(values)
        for values in zip(
            *((entry["ms"], 1000.0 * entry["clock_s"], entry.get("scale", 1.0)) for entry in table), strict=True
        )
    )
    return stretch, begun[stretch] + (times - starts[stretch]) * scales[stretch]


def _zero(text: str) -> datetime:
    if not text:
        raise ValueError('the recording does not say its date: clock="file" gives the times on its own clock')
    moment = datetime.fromisoformat(text)
    offset = moment.utcoffset()
    return moment.replace(tzinfo=None) - offset if offset is not None else moment
