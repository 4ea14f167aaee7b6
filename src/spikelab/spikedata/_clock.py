"""Times of spikes on the clock of the recording, of the file, and of the wall."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spikelab.spikedata import _epochs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spikedata._base import BaseSpikeData


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
    starts = _epochs.starts_ms(sd.metadata)
    epochs = np.zeros(len(train), np.int64) if starts is None else _epochs.epoch_of(train, starts)
    offsets = np.array([1000.0 * epoch["clock_s"] - epoch["ms"] for epoch in table])
    on_file: NDArray[np.float64] = train + offsets[epochs]
    if clock == "file":
        return on_file
    zeros = np.array([_zero(epoch["zero"]) for epoch in table], dtype="datetime64[us]")
    on_wall: NDArray[np.datetime64] = zeros[epochs] + np.rint(1000.0 * on_file).astype("timedelta64[us]")
    return on_wall


def _table(sd: BaseSpikeData) -> list[dict[str, Any]]:
    """Return the entry of each epoch of ``metadata["clock"]``."""
    table: list[dict[str, Any]] = sd.metadata.get(_epochs.CLOCK_KEY) or []
    if not table or any(epoch["clock_s"] is None for epoch in table):
        raise ValueError(
            "the recording has no clock of its own (metadata['clock']): its file does not say when its frames were "
            'recorded. Only clock="recording" is known'
        )
    return table


def _zero(text: str) -> datetime:
    if not text:
        raise ValueError('the recording does not say its date: clock="file" gives the times on its own clock')
    moment = datetime.fromisoformat(text)
    offset = moment.utcoffset()
    return moment.replace(tzinfo=None) - offset if offset is not None else moment
