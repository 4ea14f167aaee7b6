"""Settings of the figures, a group of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from spikelab.spike_sorting.settings.constraints import (
    BOOLEAN,
    COUNT,
    LABEL,
    NOT_NEGATIVE,
    NUMBER,
    POSITIVE,
    TEXT,
    list_of,
    nullable,
    number,
)
from spikelab.spike_sorting.settings.fields import option, settings_group
from spikelab.spike_sorting.settings.validation import tell_illegal


@settings_group
@dataclass
class FigureConfig:
    """Quality-control figures."""

    def __post_init__(self) -> None:
        tell_illegal(self)

    create_figures: bool = option(False, "Draw the figures.", BOOLEAN)
    create_unit_figures: bool = option(False, "Draw one figure for each unit.", BOOLEAN)
    dpi: float | None = option(None, "Resolution; None: matplotlib's.", nullable(POSITIVE), "dpi", flat="figures_dpi")
    font_size: float = option(12, "Font size.", POSITIVE, "pt", flat="figures_font_size")
    bar_x_label: str = option("Recording", "Bar plot: label of the x axis.", LABEL)
    bar_y_label: str = option("Number of Units", "Bar plot: label of the y axis.", LABEL)
    bar_label_rotation: float = option(0, "Bar plot: rotation of the names.", NUMBER, "degrees")
    bar_total_label: str = option(
        "First Curation", "Bar plot: name of the second bars, units after the first round.", LABEL
    )
    bar_selected_label: str = option(
        "Selected Curation", "Bar plot: name of the third bars, units that are kept.", LABEL
    )
    scatter_std_max_units_per_recording: int | None = option(
        None, "Scatter plot: units drawn per recording, at most.", nullable(COUNT)
    )
    scatter_recording_colors: list[str] = option(  # noqa: RUF009 - it makes a field with a factory
        ["#f74343", "#fccd56", "#74fc56", "#56fcf6", "#1e1efa", "#fa1ed2"],
        "Scatter plot: colours of the recordings, in turn; one like that of failed units is not used.",
        list_of(TEXT, "a list of at least one colour", minimum=1),
    )
    scatter_recording_alpha: float = option(1.0, "Scatter plot: opacity of the points.", number(0, 1))
    scatter_x_label: str = option("Number of Spikes", "Scatter plot: label of the x axis.", LABEL)
    scatter_y_label: str = option("avg. STD / amplitude", "Scatter plot: label of the y axis.", LABEL)
    scatter_x_max_buffer: float = option(300.0, "Scatter plot: room right of the last point.", NOT_NEGATIVE, "spikes")
    scatter_y_max_buffer: float = option(0.2, "Scatter plot: room above the highest point.", NOT_NEGATIVE)
    templates_color_curated: str = option(
        "#000000", "Colour of curated units, in all figures and pages.", TEXT, flat="all_templates_color_curated"
    )
    templates_color_failed: str = option(
        "#FF0000", "Colour of failed units, in all figures and pages.", TEXT, flat="all_templates_color_failed"
    )
    templates_per_column: int = option(50, "Templates plot: units in a column.", COUNT, flat="all_templates_per_column")
    templates_y_spacing: float = option(
        50.0, "Templates plot: distance of the units.", POSITIVE, "uV", flat="all_templates_y_spacing"
    )
    templates_y_lim_buffer: float = option(
        10.0, "Templates plot: room above and below.", NOT_NEGATIVE, "uV", flat="all_templates_y_lim_buffer"
    )
    templates_window_ms_before: float = option(
        5.0, "Templates plot: time shown before the peak.", POSITIVE, "ms", flat="all_templates_window_ms_before_peak"
    )
    templates_window_ms_after: float = option(
        5.0, "Templates plot: time shown after the peak.", POSITIVE, "ms", flat="all_templates_window_ms_after_peak"
    )
    templates_line_ms_before: float = option(
        1.0, "Templates plot: line before the peak.", NOT_NEGATIVE, "ms", flat="all_templates_line_ms_before_peak"
    )
    templates_line_ms_after: float = option(
        4.0, "Templates plot: line after the peak.", NOT_NEGATIVE, "ms", flat="all_templates_line_ms_after_peak"
    )
    templates_x_label: str = option(
        "Time Rel. to Peak (ms)", "Templates plot: label of the x axis.", LABEL, flat="all_templates_x_label"
    )
