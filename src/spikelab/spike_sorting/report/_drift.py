"""Pictures of how the tissue moved: where spikes were over time, and the estimated course on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.spike_trains import MOVED_UM
from spikelab.spike_sorting.report._plots import shaded_picture
from spikelab.spike_sorting.report._svg import Frame, drawing, number, polyline, ticks
from spikelab.spike_sorting.report._words import format_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spikelab.spikedata import SpikeData

    Floats = NDArray[np.float64]

WIDTH, HEIGHT, LEFT = 900.0, 300.0, 52.0
MOST_LINES = 5  # of the course, at as many depths


@dataclass(frozen=True)
class Drift:
    """What was found of the movement along one column of contacts.

    Attributes
    ----------
    name : str
        Of the group of channels; "" where there is one.
    seconds : float
    depths_um : (float, float)
        Edges of the pictures.
    seen, straightened : numpy.ndarray, shape (rows, times)
        Numbers of spikes where they were, and where they would be if the tissue had stood still.
    course : tuple of numpy.ndarray, or None
        Times in seconds, places along the column in micrometres, and how far the tissue had moved there and then.
    """

    name: str
    seconds: float
    depths_um: tuple[float, float]
    seen: NDArray[Any]
    straightened: NDArray[Any]
    course: tuple[Floats, Floats, Floats] | None


def drift_content(
    motion: Mapping[str, Any] | None, drifts: Sequence[Drift], units: SpikeData | None, color: str
) -> dict[str, Any] | None:
    """Gather the section on movement; None where it was not measured."""
    if motion is None:
        return None
    return {
        "facts": _facts(motion, units),
        "corrected": motion["corrected"],
        "maps": [
            {
                "name": drift.name,
                "seen": _map(drift, drift.seen, color, with_course=True),
                "straightened": _map(drift, drift.straightened, color) if drift.course else "",
            }
            for drift in drifts
        ],
    }


def _facts(motion: Mapping[str, Any], units: SpikeData | None) -> list[str]:
    """Say how far the tissue moved, and how far units did where the sorter knows."""
    lines = []
    for group in motion["groups"]:
        where = f" along {group['group']}" if group["group"] else ""
        spikes = f"{format_number(group['spikes'])} spikes"
        if group["moved_um"] is None:
            lines.append(f"The movement{where} is not known: {spikes} are too few to tell.")
        else:
            lines.append(
                f"The tissue moved by {group['moved_um']:.3g} um{where}: the range in which it was for 90 % of the "
                f"time, from {spikes}, every {group['every_s']:g} s."
            )
    moved = [] if units is None else [unit[MOVED_UM] for unit in units.unit_attributes if MOVED_UM in unit]
    if moved:
        middle, most = np.median(moved), np.quantile(moved, 0.9)
        left = " of what the correction left" if motion["corrected"] else ""
        lines.append(
            f"The sorter saw its {len(moved)} units move by {middle:.3g} um (median; 90 % of them by no more than "
            f"{most:.3g} um){left}."
        )
    return lines


def _map(drift: Drift, counts: NDArray[Any], color: str, *, with_course: bool = False) -> str:
    """Draw depth over time, the darker the more spikes, as the picture in a frame."""
    frame = Frame(WIDTH, HEIGHT, (0, drift.seconds), drift.depths_um, left=LEFT)
    width, height = WIDTH - frame.left - frame.right, HEIGHT - frame.top - frame.bottom
    darkness = np.log1p(counts.astype(np.float64))
    shades = darkness[::-1] / max(float(np.quantile(darkness, 0.999)), np.log(2))
    picture = (
        f'<image x="{number(frame.left)}" y="{number(frame.top)}" width="{number(width)}" height="{number(height)}" '
        f'preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="{shaded_picture(np.minimum(shades, 1.0), color)}"/>'
    )
    course = _course(drift, frame) if with_course else ""
    axes = frame.axes("Time (s)", "Depth (um)", ticks(0, drift.seconds), ticks(*drift.depths_um))
    label = "spikes over depth and time" + (", the estimated course on top" if course else "")
    return drawing(WIDTH, HEIGHT, picture + course + axes, label=label, kind="wide")


def _course(drift: Drift, frame: Frame) -> str:
    """Draw the course from a few depths, spread over the column, so that its scale is that of the depths."""
    if drift.course is None:
        return ""
    times_s, places_um, moved_um = drift.course
    low, high = drift.depths_um
    lines = []
    for index in range(MOST_LINES):
        start = low + (index + 0.5) / MOST_LINES * (high - low)
        nearest = int(np.abs(places_um - start).argmin())
        path = polyline(frame.x(times_s), frame.y(np.clip(start + moved_um[:, nearest], low, high)))
        lines.append(f'<path class="course" d="{path}"/>')
    return "".join(lines)
