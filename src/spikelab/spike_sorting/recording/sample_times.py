"""When the channels of a frame are sampled: a converter of Neuropixels serves several, one after the other."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

logger = logging.getLogger(__name__)

SAMPLE_SHIFTS = "inter_sample_shift"
DEEPEST = 100
# Class of SpikeInterface that aligns channels and leaves the property as it was.
ALIGNED_BY = "PhaseShiftRecording"
# Files in folders of SpikeInterface and zarr stores that say what the recording was made from.
HISTORIES = ("provenance.json", ".zattrs")
# Key that CatGT writes into a .meta file; it aligns channels unless it is told not to.
CATGT, NOT_ALIGNED = "catGTCmdline", "-no_tshift"


def sample_shifts(recording: BaseRecording, where: str, *, required: bool = False) -> NDArray[np.float64] | None:
    """Return how many samples later than its frame each channel was sampled.

    None where the recording does not say, all are sampled together, or an earlier step has aligned them.

    Raises
    ------
    ValueError
        If they are not fractions of a sample; where they are `required`, if the recording does not say, or says that
        all are sampled together.
    """
    values = recording.get_property(SAMPLE_SHIFTS)
    if required and (values is None or np.ptp(values) == 0):
        found = "does not say when its channels are sampled" if values is None else "samples all channels at once"
        raise ValueError(
            f"phase_shift=True, but {where} {found}: expected the property {SAMPLE_SHIFTS}, which readers of "
            "SpikeGLX and Open Ephys set for Neuropixels. Set phase_shift to 'auto', or open the files that the "
            "probe's program wrote"
        )
    return None if values is None else _shifts_of(recording, values, where)


def _shifts_of(recording: BaseRecording, values: Any, where: str) -> NDArray[np.float64] | None:
    """Check the shifts that a recording has; None where there is nothing to bring to the same time."""
    shifts = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(shifts).all() and (np.abs(shifts) < 1).all()):
        odd = shifts[~(np.abs(shifts) < 1)][0]
        raise ValueError(
            f"{where} has the property {SAMPLE_SHIFTS} with values such as {odd:g}; expected fractions of a sample. "
            "Set phase_shift to False to leave it out of account"
        )
    if np.ptp(shifts) == 0:
        return None
    if any(_aligned(part) for part in _chain(recording)):
        logger.info("the channels of %s were brought to the same time before: phase_shift does nothing", where)
        return None
    return shifts


def sampled_in_turn(recording: BaseRecording) -> bool:
    """Return whether a recording says that its channels are sampled at different times."""
    values = recording.get_property(SAMPLE_SHIFTS)
    return values is not None and bool(np.ptp(values) > 0)


def _chain(recording: BaseRecording) -> Iterator[Any]:
    """Yield a recording and what it was made from."""
    waiting = [recording]
    for _ in range(DEEPEST):
        if not waiting:
            return
        part = waiting.pop()
        yield part
        inside = part._kwargs.values()
        parents = [item for value in inside for item in (value if isinstance(value, list | tuple) else [value])]
        waiting += [parent for parent in parents if hasattr(parent, "get_traces")]


def _aligned(part: BaseRecording) -> bool:
    """Return whether a step aligned the channels: in this program, before the recording was saved, or in CatGT."""
    if type(part).__name__ == ALIGNED_BY:
        return True
    places = [value for name in ("folder_path", "file_path") if isinstance(value := part._kwargs.get(name), str | Path)]
    return _by_catgt(part) or any(_saved_aligned(Path(place)) for place in places)


def _saved_aligned(folder: Path) -> bool:
    histories = [history for name in HISTORIES if (history := folder / name).is_file()]
    return any(ALIGNED_BY in history.read_text(encoding="utf-8", errors="replace") for history in histories)


def _by_catgt(part: BaseRecording) -> bool:
    """Return whether CatGT wrote the files of a stream of SpikeGLX, and aligned the channels."""
    files = getattr(getattr(part, "neo_reader", None), "signals_info_dict", {})
    metas = [info["meta"] for (_, stream), info in files.items() if stream == part.stream_id]
    commands = [[str(value) for key, value in meta.items() if key.startswith(CATGT)] for meta in metas]
    return any(commands) and not any(NOT_ALIGNED in command for found in commands for command in found)
