"""Pictures of a validation: what was found of the known neurons, and what to expect of the units."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.validation import FOUND
from spikelab.spike_sorting.report._probe import ProbeMap, dot_size, layout, unit_position
from spikelab.spike_sorting.report._svg import Frame, drawing, log_ticks, number, polyline, ticks
from spikelab.spike_sorting.report._words import format_number, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import Validation

    FloatArray = NDArray[np.float64]

SMALL, LARGE = (300.0, 220.0), (560.0, 330.0)  # width and height in pixels
AXES = {"snr": ("SNR", "SNR"), "rate": ("Rate (Hz)", "rate")}  # label of the axis, and in a sentence
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
BEYOND = 0.05  # of the range of an axis, that marks at its ends are whole
LEAST = 1e-3  # on a logarithmic axis
# Of accuracy from 0 to 1: those of the map of electrodes, pale yellow to dark blue.
SHADES = ((255, 247, 214), (150, 196, 196), (62, 118, 168), (18, 40, 100))
CURVE_POINTS = 60
FEWEST_TICKS = 3
APART = 6.0  # pixels by which known neurons of one electrode are moved apart


def over(found: Validation, measure: str, along: str, size: tuple[float, float] = SMALL) -> str:
    """Draw a measure of the known neurons over their SNR or rate; accuracy over SNR with the curve of the share found.

    Marks are full where the neuron was found, hollow where it was not, whatever the measure is.
    """
    x = np.maximum([row[along] for row in found.injected], LEAST).astype(np.float64)
    label, words = AXES[along]
    frame = _frame(size, _log_range(x), x_log=True)
    summary = found.summary if (measure, along) == ("accuracy", "snr") else {}
    curve = summary.get("curve")
    content = (
        _smallest(frame, summary.get("smallest_snr"))
        + _level(frame)
        + "".join(_known_neuron(frame, row, float(at), measure) for row, at in zip(found.injected, x, strict=True))
        + _curve(frame, curve)
        + frame.axes(label, f"{measure.capitalize()}{', share found' if curve else ''}", _steps(frame.x_range), SHARES)
    )
    told = (
        f"{measure.capitalize()} of {plural(len(x), 'known neuron')} over the {words}, from {format_number(x.min())} "
        f"to {format_number(x.max())}: {found.summary['n_found']} with an accuracy of {FOUND} or more"
    )
    return drawing(*size, content, label=told, kind="distribution")


def expected_picture(
    found: Validation, kept: AbstractSet[Any], size: tuple[float, float] = SMALL, page: str = ""
) -> tuple[str, int]:
    """Draw the expected accuracy of every unit with its interval, the best first; return also how many are known.

    Each leads to the unit in `page`.
    """
    units = [(unit, values) for unit, values in found.units.items() if np.isfinite(values["expected_accuracy"])]
    units.sort(key=lambda pair: -pair[1]["expected_accuracy"])
    if not units:
        return "", 0
    frame = _frame(size, (0.5, len(units) + 0.5))
    lines, marks = "", ""
    for place, (unit, values) in enumerate(units, start=1):
        mean, low, high = (values[f"expected_accuracy{end}"] for end in ("", "_low", "_high"))
        at, (middle, bottom, top) = number(float(frame.x(place))), map(number, frame.y([mean, low, high]))
        lines += f"M{at} {bottom}V{top}"
        kind, outcome = ("found", "kept") if unit in kept else ("missed", "not kept")
        title = f"unit {unit}, {outcome}: {mean:.2f}, 90 % interval {low:.2f} to {high:.2f}"
        mark = f'<circle class="known {kind}" cx="{at}" cy="{middle}" r="{_radius(len(units))}"/>'
        marks += f'<a href="{page}#unit-{unit}"><g><title>{escape(title)}</title>{mark}</g></a>'
    steps = [tick for tick in ticks(1, len(units), 5, whole=True) if tick >= 1]
    content = f'<path class="interval" d="{lines}"/>{marks}' + frame.axes(
        "Units, the best first", "Expected accuracy", steps, SHARES
    )
    best, worst = units[0][1]["expected_accuracy"], units[-1][1]["expected_accuracy"]
    told = f"Expected accuracy of {plural(len(units), 'unit')} with 90 % intervals, from {best:.2f} down to {worst:.2f}"
    return drawing(*size, content, label=told, kind="distribution", role="group"), len(units)


def place_map(
    found: Validation,
    locations: FloatArray,
    units: Sequence[Mapping[str, Any]],
    measure: str = "accuracy",
    side: float | None = None,
) -> ProbeMap:
    """Draw the known neurons as diamonds at their electrodes, shaded by a measure, and the units as circles."""
    frame, laid, stretched = layout(locations, side)
    order = (1, 0) if laid else (0, 1)
    x, y = frame.x(locations[:, order[0]]), frame.y(locations[:, order[1]])
    dots = "".join(f"M{number(a)} {number(b)}h0" for a, b in zip(x, y, strict=True))
    content = (
        f'<path class="electrodes" style="stroke-width:{dot_size(x, y):.2g}" d="{dots}"/>'
        + "".join(_beside(frame, unit, locations, order) for unit in units)
        + _diamonds(frame, found, order, measure)
        + frame.axes(
            f"{'xy'[order[0]]} (um)", f"{'xy'[order[1]]} (um)", ticks(*frame.x_range, 5), ticks(*frame.y_range, 3)
        )
    )
    told = (
        f"Map of the array: {plural(len(found.injected), 'known neuron')} at {len(locations)} electrodes, shaded by "
        f"{measure}, beside {plural(len(units), 'unit')}"
    )
    notes = ["The column is laid down: y runs from left to right."] if laid else []
    notes += ["Not to scale: stretched across."] if stretched else []
    wide = laid or frame.width > LARGE[0] + 80
    kind = "probe lying" if wide else "distribution"
    return ProbeMap(drawing(frame.width, frame.height, content, label=told, kind=kind), notes, wide)


def shade(share: float) -> str:
    """Return the colour of a share from 0 to 1."""
    places = np.linspace(0, 1, len(SHADES))
    parts = (round(float(np.interp(share, places, part))) for part in zip(*SHADES, strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)


def ramp() -> str:
    """Return the colours from 0 to 1 as a gradient of a style sheet."""
    return f"linear-gradient(90deg, {', '.join(map(shade, SHARES))})"


def known_words(row: Mapping[str, Any]) -> str:
    """Describe a known neuron in one line."""
    parts = ", ".join(f"{measure} {row[measure]:.2f}" for measure in ("accuracy", "recall", "precision"))
    return (
        f"known neuron like unit {row['donor']}, SNR {format_number(row['snr'])}, {format_number(row['rate'])} Hz, "
        f"channel {row['channel']}: {parts}"
    )


def _frame(size: tuple[float, float], x_range: tuple[float, float], *, x_log: bool = False) -> Frame:
    return Frame(*size, x_range, (-BEYOND, 1 + BEYOND), left=52, x_log=x_log)


def _log_range(x: FloatArray) -> tuple[float, float]:
    low, high = float(x.min()), float(x.max())
    space = max((high / low) ** BEYOND, 1.1)
    return low / space, high * space


def _steps(x_range: tuple[float, float]) -> list[float]:
    """List ticks of a logarithmic axis, also of one that is shorter than a decade."""
    steps = log_ticks(*x_range)
    return steps if len(steps) >= FEWEST_TICKS else ticks(*x_range, 4)


def _radius(n: int) -> float:
    return 4.0 if n <= 60 else 2.5


def _kind(row: Mapping[str, Any]) -> str:
    return "known found" if row["accuracy"] >= FOUND else "known missed"


def _known_neuron(frame: Frame, row: Mapping[str, Any], x: float, measure: str) -> str:
    at = f'cx="{number(float(frame.x(x)))}" cy="{number(float(frame.y(row[measure])))}"'
    return f'<circle class="{_kind(row)}" {at} r="4"><title>{escape(known_words(row))}</title></circle>'


def _level(frame: Frame) -> str:
    """Draw the accuracy that counts as found."""
    return f'<path class="threshold" d="M{frame.left} {number(float(frame.y(FOUND)))}H{frame.width - frame.right}"/>'


def _smallest(frame: Frame, smallest: Sequence[float] | None) -> str:
    """Draw from which SNR on 80 % are found, and its interval as an area."""
    if smallest is None:
        return ""
    value, low, high = smallest
    left, right = frame.x([low, high])
    top, base = number(frame.top), number(frame.height - frame.bottom)
    area = f'<path class="half" d="M{number(left)} {top}V{base}H{number(right)}V{top}Z"/>'
    return area + frame.line_at(value, "threshold")


def _curve(frame: Frame, curve: Sequence[float] | None) -> str:
    """Draw the share found over the SNR."""
    if curve is None:
        return ""
    offset, slope = curve
    x = np.geomspace(*frame.x_range, CURVE_POINTS)
    share = 1 / (1 + np.exp(-np.clip(offset + slope * np.log(x), -30, 30)))
    return f'<path class="line curve" d="{polyline(frame.x(x), frame.y(share))}"/>'


def _beside(frame: Frame, unit: Mapping[str, Any], locations: FloatArray, order: tuple[int, int]) -> str:
    place = unit_position(unit, locations)
    x, y = float(frame.x(place[order[0]])), float(frame.y(place[order[1]]))
    title = f"<title>unit {escape(str(unit['unit_id']))}</title>"
    return f'<circle class="beside" cx="{number(x)}" cy="{number(y)}" r="4">{title}</circle>'


def _diamonds(frame: Frame, found: Validation, order: tuple[int, int], measure: str) -> str:
    """Draw the known neurons; those of one electrode are moved apart."""
    places = [(row["x"], row["y"]) for row in found.injected]
    many, drawn, marks = Counter(places), Counter[tuple[float, float]](), ""
    for row, place in zip(found.injected, places, strict=True):
        angle = 2 * np.pi * drawn[place] / many[place]
        drawn[place] += 1
        apart = APART if many[place] > 1 else 0.0
        x = float(frame.x(place[order[0]])) + apart * np.cos(angle)
        y = float(frame.y(place[order[1]])) + apart * np.sin(angle)
        path = f"M{number(x)} {number(y - 6)}l6 6l-6 6l-6 -6Z"
        title = f"<title>{escape(known_words(row))}</title>"
        marks += f'<path class="diamond" style="fill:{shade(row[measure])}" d="{path}">{title}</path>'
    return marks
