"""Colours of figures and pages: one colour means one thing in all of them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikelab.spike_sorting.settings.schema import FigureConfig

HEX = re.compile(r"#[0-9a-fA-F]{6}")
WHITE = "#ffffff"
LEGIBLE = 4.5  # contrast that small text needs (WCAG 2, level AA)
CONFUSABLE = 0.45  # distance of two colours, 1 being that of black and a pure red, below which they mean the same


@dataclass(frozen=True)
class Palette:
    """What each colour stands for; forms (hollow, hatched, dashed) say the same, for those who see no red."""

    kept: str = "#000000"  # units that passed curation
    failed: str = "#FF0000"  # units that did not
    found: str = "#c8c8c8"  # all units of the sort, before any decision
    first: str = "#858585"  # units after the first round
    second: str = "#505050"  # units after the second round, where they are not those that are kept
    threshold: str = "#595959"
    epoch: str = "#0072b2"  # where another epoch starts

    @property
    def failed_pale(self) -> str:
        """Colour of areas of failed units."""
        return mixed(self.failed, WHITE, 0.72)

    @property
    def failed_text(self) -> str:
        """Colour of words on failed units, dark enough to be read on white."""
        return legible(self.failed)

    def recording(self, color: str) -> str:
        """Return the colour of a recording's units: `color`, but that of kept units where it looks like failed ones."""
        return self.kept if distance(as_hex(color, self.kept), self.failed) < CONFUSABLE else color


def palette_of(config: FigureConfig) -> Palette:
    """Return the colours that the settings ask for: those of the templates plot, in all figures and pages."""
    colors = {"kept": config.templates_color_curated, "failed": config.templates_color_failed}
    return Palette(**{name: as_hex(color, getattr(Palette, name)) for name, color in colors.items()})


def as_hex(color: str, default: str) -> str:
    """Return any colour that matplotlib knows as ``#rrggbb``, `default` for what is none."""
    if HEX.fullmatch(color):
        return color
    from matplotlib.colors import is_color_like, to_hex

    return to_hex(color) if is_color_like(color) else default


def mixed(color: str, other: str, share: float) -> str:
    """Mix `share` of `other` into a colour."""
    parts = zip(_parts(color), _parts(other), strict=True)
    return "#" + "".join(f"{round(255 * (a + (b - a) * share)):02x}" for a, b in parts)


def legible(color: str) -> str:
    """Darken a colour until small text in it can be read on white."""
    shades = (mixed(color, "#000000", step / 20) for step in range(21))
    return next(shade for shade in shades if contrast(shade, WHITE) >= LEGIBLE)


def contrast(color: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21 (WCAG 2)."""
    low, high = sorted(map(_luminance, (color, other)))
    return (high + 0.05) / (low + 0.05)


def distance(color: str, other: str) -> float:
    """Return the distance of two colours in red, green and blue, each from 0 to 1."""
    return math.dist(_parts(color), _parts(other))


def _parts(color: str) -> list[float]:
    return [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def _luminance(color: str) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in _parts(color)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
