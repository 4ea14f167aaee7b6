"""Map of the probe: its electrodes, and the units at the centre of their amplitudes."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.report._svg import Frame, drawing, number, text, ticks
from spikelab.spike_sorting.report._words import format_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]

NEAR_UM = 100.0
LONG = 4.0  # ratio of length to width of a column, which is drawn lying
FEW, MANY = 100, 40  # electrodes that a small map has room for, units that large marks have room for
SMALL_SIDE, LARGE_SIDE, LAID_SIDE, SHORT_SIDE, MARGIN = 440.0, 680.0, 900.0, 130.0, 50.0
LARGEST_RADIUS, SMALLEST_RADIUS, LARGEST_DOT = 11.0, 3.5, 4.5
LETTER_WIDTH, LETTER_HEIGHT, BASELINE = 7.0, 11.0, 9.0  # of the ids of the units, in pixels


@dataclass(frozen=True)
class ProbeMap:
    """Drawing of a probe and the notes below it."""

    svg: str
    notes: list[str]
    wide: bool  # whether the drawing takes the width of the page


def unit_position(unit: Mapping[str, Any], locations: FloatArray) -> tuple[float, float]:
    """Locate a unit (um): the centre of its squared amplitudes on the electrodes within 100 um of the main one.

    Units of one main electrode get different positions. Without amplitudes it is the position of the main electrode.
    """
    place = np.array([unit["x"], unit["y"]], dtype=np.float64)
    amplitudes = np.asarray(unit.get("amplitudes", ()), dtype=np.float64)
    if amplitudes.shape == (len(locations),):
        near = np.linalg.norm(locations - place, axis=1) <= NEAR_UM
        weights = np.where(near & np.isfinite(amplitudes), amplitudes, 0.0) ** 2
        if weights.sum() > 0:
            place = weights @ locations / weights.sum()
    return float(place[0]), float(place[1])


def probe_map(locations: FloatArray, units: Sequence[Mapping[str, Any]], kept: set[Any]) -> ProbeMap | None:
    """Draw the electrodes as dots and the units as marks whose area is their amplitude; None without electrodes.

    Kept units are full, others hollow; positive peaks are squares. Scales are equal unless the probe is a column, which
    is laid down and stretched across.
    """
    locations = np.asarray(locations, dtype=np.float64).reshape(-1, 2)
    if not len(locations):
        return None
    places = np.array([unit_position(unit, locations) for unit in units]).reshape(-1, 2)
    frame, laid, stretched = layout(locations)
    order = (1, 0) if laid else (0, 1)
    x, y = frame.x(locations[:, order[0]]), frame.y(locations[:, order[1]])
    dots = "".join(f"M{number(a)} {number(b)}h0" for a, b in zip(x, y, strict=True))
    names = ("y (um)", "x (um)") if laid else ("x (um)", "y (um)")
    marks, unnamed = _marks(frame, places[:, order], units, kept)
    content = (
        f'<path class="electrodes" style="stroke-width:{dot_size(x, y):.2g}" d="{dots}"/>'
        + marks
        + frame.axes(*names, ticks(*frame.x_range, 6), ticks(*frame.y_range, 3 if laid else 5))
    )
    notes = {
        "The column is laid down: y runs from left to right.": laid,
        "Not to scale: stretched across.": stretched,
        f"For {unnamed} of the units there is no room for an id.": unnamed,
    }
    label = f"map of {len(locations)} electrodes and {len(units)} units"
    wide = frame.width > LARGE_SIDE + MARGIN + 14
    kind = "probe lying" if wide else "probe"
    return ProbeMap(
        drawing(frame.width, frame.height, content, label=label, kind=kind, role="group"),
        [*filter(notes.get, notes)],
        wide,
    )


def dot_size(x: FloatArray, y: FloatArray) -> float:
    """Return the diameter of an electrode's dot in pixels: at most half of the distance to the next electrode."""
    from scipy.spatial import cKDTree

    points = np.column_stack([x, y])
    if len(points) < 2:
        return LARGEST_DOT
    distances = np.asarray(cKDTree(points).query(points, k=2)[0])
    return float(np.clip(0.5 * np.median(distances[:, 1]), 0.8, LARGEST_DOT))


def mini_map(locations: FloatArray, units: Sequence[Mapping[str, Any]]) -> str:
    """Draw a small map of the probe and its units, stretched to fill the drawing."""
    locations = np.asarray(locations, dtype=np.float64).reshape(-1, 2)
    if not len(locations):
        return ""
    low, high = locations.min(axis=0), locations.max(axis=0)
    margin = np.maximum(0.08 * (high - low), 1.0)
    (x0, y0), (x1, y1) = low - margin, high + margin
    if y1 - y0 > LONG * (x1 - x0):
        locations, (x0, y0), (x1, y1) = locations[:, ::-1], (y0, x0), (y1, x1)
        units = [{**unit, "x": unit["y"], "y": unit["x"]} for unit in units]
    frame = Frame(120, 60, (x0, x1), (y0, y1), left=0, right=0, top=0, bottom=0)
    x, y = frame.x(locations[:, 0]).tolist(), frame.y(locations[:, 1]).tolist()
    spots = {(round(a), round(b)) for a, b in zip(x, y, strict=True)}
    dots = "".join(f"M{a} {b}h0" for a, b in sorted(spots))
    marks = ""
    for unit in units:
        place = unit_position(unit, locations)
        marks += _mark(float(frame.x(place[0])), float(frame.y(place[1])), 2.5, bool(unit["has_pos_peak"]))
    content = f'<path class="electrodes" d="{dots}"/><g class="kept">{marks}</g>'
    return drawing(120, 60, content, label=f"{len(units)} units on the probe", kind="mini")


def layout(locations: FloatArray, side: float | None = None) -> tuple[Frame, bool, bool]:
    """Lay out the plot area; return also whether a tall probe is laid down, and whether it is stretched.

    `side` is the length of the longer side of what is no column, in pixels; by default it follows from the number of
    electrodes.
    """
    low, high = locations.min(axis=0), locations.max(axis=0)
    pad = np.maximum(0.04 * (high - low), 10.0)
    low, high = low - pad, high + pad
    extent = high - low
    laid = bool(extent[1] > LONG * extent[0])
    along, across = (1, 0) if laid else (0, 1)
    long_side = side or (SMALL_SIDE if len(locations) <= FEW else LARGE_SIDE)
    if extent[along] > LONG * extent[across]:
        long_side = LAID_SIDE
    scale = long_side / max(extent[along], extent[across])
    width, height = extent[along] * scale, extent[across] * scale
    stretched = bool(height < SHORT_SIDE or width < SHORT_SIDE)
    width, height = max(width, SHORT_SIDE), max(height, SHORT_SIDE)
    frame = Frame(
        width + MARGIN + 14,
        height + 42,
        (float(low[along]), float(high[along])),
        (float(low[across]), float(high[across])),
        left=MARGIN,
        right=14.0,
    )
    return frame, laid, stretched


def _marks(frame: Frame, places: FloatArray, units: Sequence[Mapping[str, Any]], kept: set[Any]) -> tuple[str, int]:
    """Draw one mark per unit, large ones first so that small ones lie on top; return how many have no id beside it."""
    amplitudes = np.array([unit["amplitude"] for unit in units], dtype=np.float64)
    amplitudes = np.where(np.isfinite(amplitudes), amplitudes, 0.0)
    largest = LARGEST_RADIUS if len(units) <= MANY else 0.75 * LARGEST_RADIUS
    radius = np.maximum(largest * np.sqrt(amplitudes / max(amplitudes.max(initial=0.0), 1e-9)), SMALLEST_RADIUS)
    order = np.argsort(-radius, kind="stable")
    x, y = frame.x(places[:, 0]), frame.y(places[:, 1])
    names = _names([str(unit["unit_id"]) for unit in units], np.column_stack([x, y, radius]), order.tolist(), frame)
    marks = []
    for index in order:
        unit, name = units[index], names.get(int(index), "")
        kind = "kept" if unit["unit_id"] in kept else "failed"
        outcome = "kept" if kind == "kept" else "not kept"
        title = (
            f"unit {unit['unit_id']}, {outcome}, {format_number(unit['amplitude'])} uV, channel {unit['channel_id']}"
        )
        drawn = _mark(float(x[index]), float(y[index]), float(radius[index]), bool(unit["has_pos_peak"]))
        mark = f'<g class="unit {kind}"><title>{escape(title)}</title>{drawn}</g>{name}'
        marks.append(f'<a href="#unit-{escape(str(unit["unit_id"]))}">{mark}</a>')
    return "".join(marks), len(units) - len(names)


def _names(ids: Sequence[str], circles: FloatArray, order: Sequence[int], frame: Frame) -> dict[int, str]:
    """Write the ids of the units beside their marks, the largest first, where they cover no other mark or id."""
    taken = np.column_stack([circles[:, :2] - circles[:, 2:], circles[:, :2] + circles[:, 2:]])
    names: dict[int, str] = {}
    for index in order:
        x, y, r = circles[index].tolist()
        width = LETTER_WIDTH * len(ids[index])
        corners = (
            (x + r + 2, y - 5.5),
            (x - r - 2 - width, y - 5.5),
            (x - width / 2, y - r - 11),
            (x - width / 2, y + r),
        )
        for left, top in corners:
            box = np.array([left, top, left + width, top + LETTER_HEIGHT])
            inside = (
                box[0] >= frame.left and box[1] >= 0 and box[2] <= frame.width and box[3] <= frame.height - frame.bottom
            )
            if inside and not ((taken[:, :2] < box[2:]).all(axis=1) & (taken[:, 2:] > box[:2]).all(axis=1)).any():
                taken = np.vstack([taken, box])
                names[index] = text(left, top + BASELINE, ids[index], anchor="start", kind="id")
                break
    return names


def _mark(x: float, y: float, r: float, positive: bool) -> str:
    if positive:
        side = r * 1.77  # of the same area as the circle
        corner = f'x="{number(x - side / 2)}" y="{number(y - side / 2)}"'
        return f'<rect {corner} width="{number(side)}" height="{number(side)}"/>'
    return f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(r)}"/>'
