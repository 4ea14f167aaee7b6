"""Small drawings as SVG text: a frame with axes, bars and lines. Fonts and colours are those of the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    FloatArray = NDArray[np.float64]

NICE = (1, 2, 2.5, 5, 10)
MAX_LOG_TICKS = 6


def number(value: float) -> str:
    """Format a coordinate with one decimal at most."""
    plain = float(value)  # numpy's own numbers take ten times as long to round
    return f"{round(plain, 1) + 0.0:g}" if abs(plain) < 1e5 else f"{plain:.0f}"


def ticks(low: float, high: float, count: int = 5, *, whole: bool = False) -> list[float]:
    """List round numbers from `low` to `high`, about `count` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * nice for nice in NICE if power * nice >= rough * 0.999)
    if whole:
        step = max(1.0, float(round(step)))
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """List powers of ten from `low` to `high`, with others between them where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    decades = [10.0**power for power in powers if low <= 10.0**power <= high]
    if len(decades) >= 3:
        return decades[:: 1 + len(decades) // 6]
    fine, coarse = (
        [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        for digits in ((1, 2, 5), (1, 3))
    )
    return fine if len(fine) <= MAX_LOG_TICKS else coarse


@dataclass(frozen=True)
class Frame:
    """A plot area: data to pixels, and its axes."""

    width: float  # of the whole drawing in pixels
    height: float
    x_range: tuple[float, float]  # data at the edges of the plot area
    y_range: tuple[float, float]
    left: float = 34.0  # margins in pixels
    right: float = 8.0
    top: float = 8.0
    bottom: float = 34.0
    x_log: bool = False

    def x(self, values: ArrayLike) -> FloatArray:
        """Convert `values` to pixels along x."""
        low, high = self.x_range
        data = np.asarray(values, dtype=np.float64)
        if self.x_log:
            data, low, high = np.log10(data), math.log10(low), math.log10(high)
        pixels: FloatArray = self.left + (data - low) / (high - low) * (self.width - self.left - self.right)
        return pixels

    def y(self, values: ArrayLike) -> FloatArray:
        """Convert `values` to pixels along y, which point down."""
        low, high = self.y_range
        share = (np.asarray(values, dtype=np.float64) - low) / (high - low)
        pixels: FloatArray = self.height - self.bottom - share * (self.height - self.top - self.bottom)
        return pixels

    def axes(self, x_label: str, y_label: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
        """Draw both axes with their ticks and labels."""
        base, end = self.height - self.bottom, self.width - self.right
        parts = [f'<path class="axis" d="M{self.left} {self.top}V{base}H{end}"/>']
        for tick, pixel in zip(x_ticks, self.x(x_ticks), strict=True):
            parts.append(f'<path class="axis" d="M{number(pixel)} {base}v3"/>')
            parts.append(text(pixel, base + 14, f"{tick:g}", anchor="middle"))
        for tick, pixel in zip(y_ticks, self.y(y_ticks), strict=True):
            parts.append(f'<path class="axis" d="M{self.left} {number(pixel)}h-3"/>')
            parts.append(text(self.left - 5, pixel + 3.5, f"{tick:g}", anchor="end"))
        parts.append(text((self.left + end) / 2, self.height - 4, x_label, anchor="middle", kind="label"))
        middle = (self.top + base) / 2
        turned = f'transform="translate(13 {number(middle)}) rotate(-90)"'
        parts.append(f'<text class="label" text-anchor="middle" {turned}>{escape(y_label)}</text>')
        return "".join(parts)

    def bars(self, edges: FloatArray, low: ArrayLike, high: ArrayLike, kind: str) -> str:
        """Draw bars between `edges` from `low` to `high`, as one path; bars of no height are left out."""
        left, right = self.x(edges[:-1]), self.x(edges[1:])
        bottom, top = self.y(low), self.y(high)
        shapes = [
            f"M{number(x0)} {number(y0)}V{number(y1)}H{number(x1)}V{number(y0)}Z"
            for x0, x1, y0, y1 in zip(left, right, np.broadcast_to(bottom, left.shape), top, strict=True)
            if y0 - y1 > 0
        ]
        return f'<path class="{kind}" d="{"".join(shapes)}"/>' if shapes else ""

    def line_at(self, x: float, kind: str) -> str:
        """Draw a vertical line over the whole height."""
        return f'<path class="{kind}" d="M{number(float(self.x(x)))} {self.top}V{self.height - self.bottom}"/>'


def text(x: float, y: float, words: str, *, anchor: str, kind: str = "tick") -> str:
    """Write a text element."""
    return f'<text class="{kind}" x="{number(x)}" y="{number(y)}" text-anchor="{anchor}">{escape(words)}</text>'


def polyline(x: ArrayLike, y: ArrayLike) -> str:
    """Write path data through points, each rounded to a tenth and given relative to the one before: short."""
    steps = np.array([x, y], dtype=np.float64).T
    if not len(steps):
        return ""
    np.rint(steps * 10, out=steps)
    steps[1:] -= steps[:-1].copy()
    steps = steps / 10 + 0.0
    return ("m%g %g" + "l%g %g" * (len(steps) - 1)) % tuple(steps.ravel().tolist())


def drawing(width: float, height: float, content: str, *, label: str, kind: str = "", role: str = "img") -> str:
    """Write an ``svg`` element that scales with the page; `label` describes it to screen readers.

    Of one with links in it the `role` is "group": those in an image are not read out.
    """
    return (
        f'<svg class="{kind}" viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" role="{role}" '
        f'aria-label="{escape(label)}">{content}</svg>'
    )
