"""What all figures share: recordings, axes, labels, legends and files. No pyplot: no global state, no display."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from spikelab.system import files
from spikelab.system.quoting import printable

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.settings.schema import FigureConfig
    from spikelab.spikedata import SpikeData

DEFAULT_DPI = 100
MAX_NAME = 28
MAX_PIXELS = 30_000  # most that image viewers open; the limit of Agg is 65 536


@dataclass(frozen=True)
class FigureRecording:
    """Name of a recording, all its units and the outcome of their curation."""

    name: str
    sd_all: SpikeData
    outcome: CurationOutcome

    @property
    def curated_ids(self) -> set[int]:
        """Ids of the units that passed both rounds."""
        return set(self.outcome.sd_curated.unit_ids)

    def metric(self, name: str, ids: set[int]) -> NDArray[np.float64]:
        """Return one metric of the units in `ids`, in the order of the table."""
        return np.array([row[name] for row in self.outcome.unit_metrics if row["unit_id"] in ids], dtype=np.float64)


def new_figure(config: FigureConfig, width: float, height: float, *, constrained: bool = True) -> Figure:
    """Make an empty figure of `width` by `height` inches."""
    dpi = DEFAULT_DPI if config.dpi is None else config.dpi
    return Figure(figsize=(width, height), dpi=dpi, layout="constrained" if constrained else None, facecolor="white")


def axes_for(config: FigureConfig, ax: Axes | None, width: float, height: float) -> Axes:
    """Return `ax`, or the one axes of a new figure."""
    return new_figure(config, width, height).add_subplot() if ax is None else ax


def figure_of(ax: Axes) -> Figure:
    """Return the figure that `ax` is drawn in."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes belong to no figure any more")
    return figure


def set_labels(
    ax: Axes, config: FigureConfig, *, x: str = "", y: str = "", title: str = "", scale: float = 1.0
) -> None:
    """Set labels and font sizes (`scale` times the configured one) and leave out the frame's top and right."""
    size = config.font_size * scale
    ax.set_xlabel(x, fontsize=size)
    ax.set_ylabel(y, fontsize=size)
    if title:
        # With a given height matplotlib does not search for a free one: a fifth of the time of a page.
        ax.set_title(title, fontsize=size, y=1.01)
    ax.tick_params(labelsize=size * 0.85)
    ax.spines[["top", "right"]].set_visible(False)


def whole_numbers(ax: Axes) -> None:
    """Tick the y axis, which counts something, at a few whole numbers."""
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def write_note(ax: Axes, config: FigureConfig, text: str) -> None:
    """Write a note in the middle of axes without data."""
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": config.font_size, "color": "0.4"}
    ax.text(0.5, 0.5, text, transform=ax.transAxes, bbox={"facecolor": "white", "edgecolor": "none"}, **style)


def legend(ax: Axes, config: FigureConfig, **options: Any) -> None:
    """Add a legend without a frame, if any artist has a label."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=config.font_size * 0.8, frameon=False, **options)


def short(name: str) -> str:
    """Shorten a long name in its middle, where names of one experiment differ least; it is drawn as it is written."""
    if len(name) > MAX_NAME:
        half = (MAX_NAME - 1) // 2
        name = f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
    return printable(name).replace("$", r"\$")  # matplotlib takes what is between two dollars for a formula


def save_figure(figure: Figure, path: Path, *, compression: int = 6) -> Path:
    """Write a PNG; a very large one at a lower resolution."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dpi = min(figure.dpi, MAX_PIXELS / max(figure.get_size_inches()))
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi, pil_kwargs={"compress_level": compression})
    return path
