"""Figures for quality control: built without pyplot and without a display, they change no global setting."""

from __future__ import annotations

from ._canvas import FigureRecording
from .bars import curation_bar_plot
from .distributions import quality_distributions
from .make import make_figures
from .raster import raster_pop_rate
from .scatter import std_scatter_plot
from .templates import all_templates_plot
from .unit_page import unit_page

__all__ = [
    "FigureRecording",
    "all_templates_plot",
    "curation_bar_plot",
    "make_figures",
    "quality_distributions",
    "raster_pop_rate",
    "std_scatter_plot",
    "unit_page",
]
