from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

import gallery
from spikelab import SpikeData
from spikelab.spike_sorting.config import CurationConfig, FigureConfig
from spikelab.spike_sorting.curation import curate_two_rounds
from spikelab.spike_sorting.curation.histograms import isi_histogram, population_rate
from spikelab.spike_sorting.curation.palette import Palette as CurationPalette
from spikelab.spike_sorting.curation.palette import contrast, palette_of
from spikelab.spike_sorting.curation.rasters import activity_map
from spikelab.spike_sorting.figures import (
    FigureRecording,
    all_templates_plot,
    curation_bar_plot,
    quality_distributions,
    raster_pop_rate,
    std_scatter_plot,
    unit_page,
)
from spikelab.spike_sorting.figures._canvas import save_figure
from spikelab.spike_sorting.figures.raster import raster_points
from spikelab.spike_sorting.figures.unit_page import nearest_channels

Make = Callable[..., FigureRecording]


def bars(recordings: list[FigureRecording], **config: Any) -> Figure:
    return curation_bar_plot(recordings, FigureConfig(**config))


def scatter(recordings: list[FigureRecording], curation: CurationConfig | None = None, **config: Any) -> Figure:
    return std_scatter_plot(recordings, curation or CurationConfig(), FigureConfig(**config))


def templates(recordings: list[FigureRecording], **config: Any) -> Figure:
    return all_templates_plot(recordings, FigureConfig(**config))


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.findobj(mpl.text.Text)}  # type: ignore[union-attr]


def dotted(ax: Any) -> list[tuple[float, float]]:
    """First point of each dotted line, in data or axes coordinates."""
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_linestyle() == ":"]


def drawn_points(figure: Figure) -> np.ndarray:
    return np.concatenate([line.get_xydata() for line in figure.axes[0].lines if line.get_linestyle() == "None"])


def traces(figure: Figure) -> list[Any]:
    return [line for ax in figure.axes for line in ax.lines if len(line.get_xdata()) > 2]


# ---- the numbers that are drawn ----


def test_bars_are_the_units_found_and_after_each_round(make_recording: Make) -> None:
    figure = bars([make_recording("a"), make_recording("b", n_units=3), make_recording("c", snr=1.0)])
    assert [bar.get_height() for bar in figure.axes[0].patches] == [8, 3, 8, 8, 3, 0, 7, 2, 0]
    assert figure.axes[0].patches[-1].get_facecolor() == to_rgba("#000000")


def test_a_round_of_limits_has_a_bar_of_its_own(make_recording: Make) -> None:
    recording = make_recording()
    limited = curate_two_rounds(recording.sd_all, CurationConfig(metric_limits={"amplitude": [70, None]}))
    figure = bars([FigureRecording("a", recording.sd_all, limited)])
    assert [bar.get_height() for bar in figure.axes[0].patches] == [8, 8, 7, 5]
    assert "Second Curation" in texts(figure)
    assert overlapping(figure) == []
    figure.draw_without_rendering()
    page = figure.get_tightbbox()
    assert page.x0 >= 0
    assert page.x1 <= figure.get_size_inches()[0]


def test_what_is_drawn_of_many_says_of_how_many(make_recording: Make) -> None:
    recording, config = make_recording(), FigureConfig()
    rows = recording.outcome.unit_metrics
    page = unit_page(recording.sd_all, 2, rows[2], config, waveforms=np.zeros((150, 81, 6), dtype=np.float32))
    assert page.axes[2].get_title() == "template and 100 of 150 waveforms"
    (case,) = gallery.CASES["typical"]()  # 64 channels
    page = unit_page(case.units, 0, case.outcome.unit_metrics[0], config)
    assert page.axes[1].get_title().startswith("nearest 30 of 64 channels, largest ")


def test_scatter_draws_the_units_of_the_second_round_and_its_thresholds(make_recording: Make) -> None:
    figure = scatter([make_recording()])
    expected = [(40 + 10 * i, 0.2 + 0.1 * i) for i in range(8)]
    np.testing.assert_allclose(sorted(drawn_points(figure).tolist()), expected)
    assert dotted(figure.axes[0]) == [(50, 0), (0, 1.0)]
    assert {"kept (7)", "failed second round (1)", "failed first round (0)"} <= texts(figure)


def test_scatter_draws_units_in_the_colour_of_their_verdict(make_recording: Make) -> None:
    ax = scatter([make_recording(snr=1.0), make_recording("b")]).axes[0]
    drawn = [line for line in ax.lines if len(line.get_xdata()) and line.get_linestyle() == "None"]
    edges = {line.get_marker(): line.get_markeredgecolor() for line in drawn}
    assert edges["x"] == "#FF0000"  # of the first recording, which failed in the first round
    second = [(line.get_markerfacecolor(), line.get_markeredgecolor()) for line in drawn if line.get_marker() == "s"]
    assert set(second) == {("none", "#FF0000"), ("#fccd56", "#000000")}


def test_a_colour_of_recordings_that_looks_like_failed_units_is_not_used(make_recording: Make) -> None:
    ax = scatter([make_recording()]).axes[0]
    assert {line.get_markerfacecolor() for line in ax.lines if len(line.get_xdata()) == 1} == {"#000000", "none"}
    assert "#f74343" in CurationPalette(failed="#0000ff").recording("#f74343")


def test_recordings_are_drawn_in_turn(make_recording: Make) -> None:
    ax = scatter([make_recording("a", n_units=20), make_recording("b", n_units=20)]).axes[0]
    drawn = sorted((line for line in ax.lines if len(line.get_xdata())), key=lambda line: line.get_zorder())
    assert len(list(groupby(line.get_marker() for line in drawn if line.get_marker() in "os"))) > 4


@pytest.mark.parametrize(
    ("fields_", "expected"),
    [
        ({"spikes_min_second": None}, [(0, 1.0)]),
        ({"std_norm_max": None}, [(50, 0)]),
        ({"curate_second": False}, []),
        ({"std_norm_max": np.inf}, [(50, 0)]),
        ({"spikes_min_second": 5_000}, [(5_000, 0), (0, 1.0)]),
    ],
)
def test_scatter_shows_the_thresholds_that_were_in_force(
    make_recording: Make, fields_: dict[str, Any], expected: list[tuple[float, float]]
) -> None:
    ax = scatter([make_recording()], CurationConfig(**fields_)).axes[0]
    assert dotted(ax) == expected
    for x, y in expected:
        assert x <= ax.get_xlim()[1]
        assert y <= ax.get_ylim()[1]


def test_a_deviation_that_no_unit_comes_near_does_not_flatten_the_plot(make_recording: Make) -> None:
    figure = scatter([make_recording(std_norm=0.1)])
    assert figure.axes[0].get_ylim() == pytest.approx((0, 0.3))
    assert dotted(figure.axes[0]) == [(50, 0)]
    assert "STD / amplitude at most 1: all are" in texts(figure)


def test_templates_are_stacked_by_sign_and_amplitude(make_recording: Make) -> None:
    figure = templates([make_recording()])
    negative, positive = figure.axes
    assert (negative.get_title(), positive.get_title()) == ("negative peaks", "positive peaks")
    # Units 6, 5, 4, 2, 1, 0 from top to bottom: minimum = row offset - amplitude.
    minima = [line.get_ydata().min() for line in negative.lines if len(line.get_xdata()) > 2]
    np.testing.assert_allclose(minima, [-row * 50 - 20 * (unit + 1) for row, unit in enumerate([6, 5, 4, 2, 1, 0])])
    maxima = [line.get_ydata().max() for line in positive.lines if len(line.get_xdata()) > 2]
    np.testing.assert_allclose(maxima, [160, -50 + 80])
    peak = traces(figure)[0]
    assert peak.get_xdata()[peak.get_ydata().argmin()] == 0
    assert [line.get_color() for line in traces(figure)[:6]] == ["#000000"] * 5 + ["#FF0000"]


def test_distributions_separate_at_the_thresholds(make_recording: Make) -> None:
    figure = quality_distributions([make_recording()], CurationConfig(), FigureConfig())
    counts, *_, std = figure.axes[:6]
    assert sum(bar.get_height() for bar in counts.patches) == 8
    assert [x for x, _ in dotted(counts)] == [30, 50]
    failed = [bar for bar in counts.patches if bar.get_edgecolor() == to_rgba("#FF0000")]
    assert [bar.get_height() for bar in failed] == [1]
    assert failed[0].get_x() + failed[0].get_width() <= 50
    assert [x for x, _ in dotted(std)] == [1.0]


def test_distributions_show_no_threshold_of_a_round_that_was_off(make_recording: Make) -> None:
    curation = CurationConfig(curate_first=False, std_norm_max=np.inf)
    figure = quality_distributions([make_recording()], curation, FigureConfig())
    assert [[x for x, _ in dotted(ax)] for ax in figure.axes[:5]] == [[50], [], [], [], []]


def test_raster_points_are_the_spikes(make_recording: Make) -> None:
    sd = make_recording().sd_all
    times, rows = raster_points(sd)
    np.testing.assert_array_equal(np.bincount(rows), sd.spike_counts)
    np.testing.assert_allclose(times[rows == 0], sd.train[0] / 1000)


def test_population_rate_counts_every_spike_once(make_recording: Make) -> None:
    sd = make_recording().sd_all
    edges, hertz, bin_ms = population_rate(sd)
    assert bin_ms == 200  # the first of 1, 2, 5, 10, ... that makes at most 500 bins of a minute
    np.testing.assert_allclose(edges[[0, -1]], [0, 60])
    assert np.sum(hertz * np.diff(edges)) * sd.N == pytest.approx(sd.spike_counts.sum())


def test_population_rate_is_per_live_time(make_recording: Make) -> None:
    dead = {"dead_time_s": [[10.0, 10.15], [20.0, 20.19], [30.0, 31.0]]}
    sd = make_recording(metadata=dead).sd_all
    whole = population_rate(sd.replace(metadata={}))[1]
    _, hertz, _ = population_rate(sd)
    assert hertz[50] == pytest.approx(4 * whole[50])
    assert not hertz[[100, *range(150, 155)]].any()  # too little is left
    others = np.setdiff1d(np.arange(300), [50, 100, *range(150, 155)])
    np.testing.assert_allclose(hertz[others], whole[others])


def test_raster_marks_epochs(make_recording: Make) -> None:
    recording = make_recording(metadata={"rec_chunks_ms": [[0, 20_000], [20_000, 60_000]]})
    figure = raster_pop_rate([recording], FigureConfig())
    assert [[x for x, _ in dotted(ax)] for ax in figure.axes] == [[20], [20]]


def test_unit_page_shows_intervals_footprint_and_waveforms(make_recording: Make) -> None:
    recording = make_recording()
    waveforms = np.zeros((150, 81, 6), dtype=np.float32)
    page = unit_page(recording.sd_all, 2, recording.outcome.unit_metrics[2], FigureConfig(), waveforms=waveforms)
    isi, footprint, waveform = page.axes
    assert isi.get_title() == "59 intervals, 0 below 1.5 ms"  # 60 spikes in a minute, one second apart
    assert [x for x, _ in dotted(isi)] == [1.5]
    assert len(footprint.collections[0].get_segments()) == 6
    assert len(waveform.collections[0].get_segments()) == 100
    assert waveform.lines[0].get_ydata().min() == -60
    assert page.get_suptitle().startswith("Unit 2: curated, channel 2 at (35, 0) um\n60 spikes, 1 Hz")


def test_a_page_drawn_over_shows_the_next_unit_only(make_recording: Make) -> None:
    recording = make_recording()
    rows = recording.outcome.unit_metrics
    waveforms = np.ones((5, 81, 6), dtype=np.float32)
    page = unit_page(recording.sd_all, 1, rows[1], FigureConfig(), waveforms=waveforms)
    again = unit_page(recording.sd_all, 0, rows[0], FigureConfig(), figure=page)
    assert again is page
    assert [len(ax.collections) for ax in page.axes] == [0, 1, 0]
    assert [len(ax.lines) for ax in page.axes] == [1, 1, 1]
    assert page.axes[2].lines[0].get_color() == "#FF0000"
    assert "Unit 0: failed spike_count (second round)" in page.get_suptitle()


def test_templates_fill_their_axes(make_recording: Make) -> None:
    figure = templates([make_recording()])
    assert [ax.get_xlim() for ax in figure.axes] == [(-2.0, 2.0)] * 2
    assert figure.get_size_inches()[0] > 7


def test_intervals_are_counted_once_and_bins_grow_with_few() -> None:
    intervals = np.array([0.1, 1.4999, 1.5, 700.0, 1e6])
    counts, edges = isi_histogram(intervals)
    assert counts.sum() == 5
    assert counts[edges[:-1] < 1.5].sum() == 2
    assert np.isclose(edges, 1.5, rtol=1e-12).any()
    np.testing.assert_allclose(edges[[0, -1]], [0.5, 20_000])
    many, fine = isi_histogram(np.geomspace(2, 1000, 5000))
    assert len(fine) > 2 * len(edges)
    assert many.sum() == 5000


def test_a_raster_that_would_be_grey_is_a_map_of_rates() -> None:
    rng = np.random.default_rng(0)
    busy = [np.sort(rng.uniform(0, 600_000, 9000)) for _ in range(3)]
    column = {"channel_locations": [[0.0, 20.0 * i] for i in range(30)]}
    units = [{"unit_id": i, "y": y} for i, y in enumerate((10.0, 500.0, 300.0))]
    shown = activity_map(SpikeData(busy, length=600_000, neuron_attributes=units, metadata=column))
    assert shown.is_rate
    assert shown.darkness.shape[1] == 400
    assert (shown.darkness.max(axis=1) == 1).all()
    assert (shown.order, shown.by_depth) == ([1, 2, 0], True)
    quiet = activity_map(SpikeData([train[::50] for train in busy], length=600_000))
    assert not quiet.is_rate
    assert (quiet.order, quiet.by_depth) == ([0, 1, 2], False)


def test_rates_are_drawn_as_an_image_with_gaps() -> None:
    (case,) = gallery.CASES["neuropixels_column"]()
    raster, _ = raster_pop_rate([FigureRecording(*case.triple)], FigureConfig()).axes
    assert len(raster.images) == 1
    assert "each row to its own maximum" in raster.get_title()


def test_colours_are_legible_and_settings_cannot_break_a_page() -> None:
    palette = palette_of(FigureConfig(templates_color_curated="tab:blue", templates_color_failed="red;}</style>"))
    assert (palette.kept, palette.failed) == ("#1f77b4", "#FF0000")
    for color in ("#FF0000", "#ffff00", "#123456"):
        assert contrast(CurationPalette(failed=color).failed_text, "#ffffff") >= 4.5


def test_the_nearest_channels_contain_the_main_one() -> None:
    locations = np.array([[0.0, 10.0 * i] for i in range(100)])
    np.testing.assert_array_equal(nearest_channels(locations, 0), np.arange(30))
    assert 50 in nearest_channels(locations, 50)


# ---- every field of the configuration ----

Probe = Callable[[Figure], Any]
ONE, SEVEN = 1, 7
EFFECTS: dict[str, tuple[Callable[..., Figure], Any, Probe, Any]] = {
    "dpi": (bars, 50, lambda f: f.dpi, 50),
    "font_size": (bars, 20, lambda f: f.axes[0].xaxis.label.get_fontsize(), 20),
    "bar_x_label": (bars, "Chip", lambda f: f.axes[0].get_xlabel(), "Chip"),
    "bar_y_label": (bars, "Neurons", lambda f: f.axes[0].get_ylabel(), "Neurons"),
    "bar_label_rotation": (bars, 45, lambda f: f.axes[0].get_xticklabels()[0].get_rotation(), 45),
    "bar_total_label": (bars, "before", lambda f: f.axes[0].get_legend().get_texts()[1].get_text(), "before"),
    "bar_selected_label": (bars, "after", lambda f: f.axes[0].get_legend().get_texts()[2].get_text(), "after"),
    "scatter_std_max_units_per_recording": (scatter, 3, lambda f: len(drawn_points(f)), 3),
    "scatter_recording_colors": (
        scatter,
        ["#123456"],
        lambda f: "#123456" in {line.get_markerfacecolor() for line in f.axes[0].lines},
        True,
    ),
    "scatter_recording_alpha": (scatter, 0.25, lambda f: f.axes[0].lines[0].get_alpha(), 0.25),
    "scatter_x_label": (scatter, "n", lambda f: f.axes[0].get_xlabel(), "n"),
    "scatter_y_label": (scatter, "s", lambda f: f.axes[0].get_ylabel(), "s"),
    "scatter_x_max_buffer": (scatter, 10.0, lambda f: f.axes[0].get_xlim()[1], 110 + 10.0),
    "scatter_y_max_buffer": (scatter, 1.0, lambda f: round(f.axes[0].get_ylim()[1], 6), 0.9 + 1.0),
    "templates_color_curated": (templates, "#00FF00", lambda f: traces(f)[0].get_color(), "#00FF00"),
    "templates_color_failed": (templates, "#0000FF", lambda f: traces(f)[5].get_color(), "#0000FF"),
    "templates_per_column": (templates, 2, lambda f: len(f.axes), 3 + 1),
    "templates_y_spacing": (templates, 300.0, lambda f: traces(f)[1].get_ydata()[0], -300.0),
    "templates_y_lim_buffer": (templates, 33.0, lambda f: f.axes[0].get_ylim(), (-250 - 20 - 33.0, 160 + 33.0)),
    "templates_window_ms_before": (templates, 0.5, lambda f: f.axes[0].get_xlim()[0], -0.5),
    "templates_window_ms_after": (templates, 1.5, lambda f: f.axes[0].get_xlim()[1], 1.5),
    "templates_line_ms_before": (templates, 0.7, lambda f: dotted(f.axes[0])[0][0], -0.7),
    "templates_line_ms_after": (templates, 0.9, lambda f: dotted(f.axes[0])[-1][0], 0.9),
    "templates_x_label": (templates, "t", lambda f: f.axes[0].get_xlabel(), "t"),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_each_field_has_its_effect(make_recording: Make, name: str) -> None:
    draw, value, probe, expected = EFFECTS[name]
    assert probe(draw([make_recording()])) != expected
    assert probe(draw([make_recording()], **{name: value})) == expected


def test_no_field_is_forgotten() -> None:
    files = {"create_figures", "create_unit_figures"}  # see test_make_figures.py
    assert set(EFFECTS) | files == {field.name for field in fields(FigureConfig)}


# ---- what breaks lesser figures ----


def draw_all(recordings: list[FigureRecording]) -> list[Figure]:
    config, curation = FigureConfig(dpi=40), CurationConfig()
    figures = [
        curation_bar_plot(recordings, config),
        std_scatter_plot(recordings, curation, config),
        all_templates_plot(recordings, config),
        quality_distributions(recordings, curation, config),
        raster_pop_rate(recordings, config),
    ]
    for recording in recordings:
        for index, row in enumerate(recording.outcome.unit_metrics[:1]):
            figures.append(unit_page(recording.sd_all, index, row, config))
    for figure in figures:
        figure.draw_without_rendering()
    return figures


def nan_template() -> dict[str, Any]:
    empty = np.full((81, 6), np.nan, dtype=np.float32)
    return {"template": empty, "template_full": empty, "snr": np.nan, "std_norm": np.inf, "amplitude": np.nan}


def one_spike(recording: FigureRecording) -> FigureRecording:
    sd = recording.sd_all
    lonely = sd.replace(train=[train[:1] for train in sd.train])
    return FigureRecording("lonely", lonely, curate_two_rounds(lonely, CurationConfig()))


def badly_named(make: Make) -> FigureRecording:
    return make("a $\\frac{ b$\a", channel_id="$x_{$")


ODD: dict[str, Callable[[Make], list[FigureRecording]]] = {
    "no recordings": lambda make: [],
    "no units": lambda make: [make(n_units=0)],
    "no curated units": lambda make: [make(n_units=1)],
    "NaN, formulas for names, one spike": lambda make: [
        make(n_units=2, **nan_template()),
        badly_named(make),
        one_spike(make(n_units=2)),
    ],
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_recordings_are_drawn_and_nothing_global_is_touched(make_recording: Make, odd: str) -> None:
    before = dict(mpl.rcParams)
    recordings = ODD[odd](make_recording)
    assert len(draw_all(recordings)) == 5 + sum(recording.sd_all.N > 0 for recording in recordings)
    assert dict(mpl.rcParams) == before


def test_seven_recordings_have_seven_looks(make_recording: Make) -> None:
    figure = scatter([make_recording(f"chip{i}") for i in range(7)])
    named = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("chip")]
    looks = {(line.get_color(), line.get_marker()) for line in named}
    assert len(looks) == 7
    assert {f"chip{i}" for i in range(7)} < texts(figure)


def test_labels_of_seven_recordings_do_not_touch(make_recording: Make) -> None:
    recordings = [make_recording(f"2026-01-0{i}_a_long_name_of_an_experiment_chip1234{i}", n_units=2) for i in range(7)]
    figure = bars(recordings)
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert boxes[0].x0 >= 0
    assert boxes[-1].x1 <= figure.bbox.x1


def test_points_that_cannot_be_drawn_are_counted(make_recording: Make) -> None:
    recording = make_recording()
    recording.outcome.unit_metrics[2]["std_norm"] = np.nan
    assert "1 without std" in texts(scatter([recording]))
    assert "chip1 (1 without std)" in texts(scatter([recording, make_recording("b")]))
    limited = texts(scatter([recording], scatter_std_max_units_per_recording=4))
    assert "1 without std, 4 of 7 units" in limited


def test_all_templates_of_many_units_stay_a_drawable_size(make_recording: Make) -> None:
    figure = templates([make_recording(n_units=40)], templates_per_column=2)
    assert len({round(ax.get_subplotspec().rowspan.start) for ax in figure.axes}) == 2  # type: ignore[union-attr]
    assert figure.get_size_inches()[0] < 40


def test_callers_may_bring_their_axes(make_recording: Make) -> None:
    recordings, config, curation = [make_recording()], FigureConfig(), CurationConfig()
    figure = Figure()
    axes = figure.subplots(3, 3).ravel()
    assert curation_bar_plot(recordings, config, ax=axes[0]) is figure
    assert std_scatter_plot(recordings, curation, config, ax=axes[1]) is figure
    assert all_templates_plot(recordings, config, ax=axes[2]) is figure
    assert len([line for line in axes[2].lines if len(line.get_xdata()) > 2]) == 8
    assert quality_distributions(recordings, curation, config, axes=list(axes[3:9])) is figure
    pages = Figure()
    trio = pages.subplots(1, 3)
    recording = recordings[0]
    drawn = unit_page(recording.sd_all, 0, recording.outcome.unit_metrics[0], config, axes=list(trio))
    assert drawn is pages
    assert drawn.get_suptitle() == ""
    rasters = Figure()
    pair = rasters.subplots(2)
    assert raster_pop_rate(recordings, config, axes=[(pair[0], pair[1])]) is rasters


# ---- what a reader can and cannot see ----


def test_the_raster_names_its_units(make_recording: Make) -> None:
    figure = raster_pop_rate([make_recording()], FigureConfig())  # unit 0 is not curated
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    positions = figure.axes[0].get_yticks()
    assert [label for label in labels if label] == [str(int(row) + 1) for row in positions if 0 <= row < 7]


def test_one_unit_has_one_tick(make_recording: Make) -> None:
    figure = raster_pop_rate([make_recording(n_units=2)], FigureConfig())  # unit 0 is not curated
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels() if label.get_text()] == ["1"]


def test_a_page_says_that_there_is_no_template(make_recording: Make) -> None:
    recording = make_recording(**nan_template())
    page = unit_page(recording.sd_all, 2, recording.outcome.unit_metrics[2], FigureConfig())
    assert [[text.get_text() for text in ax.texts] for ax in page.axes[1:]] == [["no template"]] * 2


def test_curated_and_failed_differ_without_colour(make_recording: Make) -> None:
    recording = make_recording()
    stacked = traces(templates([recording]))
    assert [line.get_linestyle() for line in stacked[:6]] == ["-"] * 5 + ["--"]
    counts = quality_distributions([recording], CurationConfig(), FigureConfig()).axes[0]
    assert {bar.get_hatch() for bar in counts.patches if bar.get_height()} == {None, "////"}
    lines = scatter([recording, make_recording("b")]).axes[0].lines
    first, second = (line for line in lines if line.get_label() in ("chip1", "b"))
    assert first.get_marker() != second.get_marker()


def test_units_without_a_template_are_last_and_said_to_have_none(make_recording: Make) -> None:
    figure = templates([make_recording(n_units=3), make_recording("b", n_units=2, **nan_template())])
    assert {"0 (no template)", "1 (no template)", "2"} <= texts(figure)


def test_many_recordings_have_many_looks(make_recording: Make) -> None:
    one = make_recording(n_units=2)
    recordings = [FigureRecording(f"chip{i}", one.sd_all, one.outcome) for i in range(60)]
    lines = [line for line in scatter(recordings).axes[0].lines if str(line.get_label()).startswith("chip")]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 60


# The others have the same axes, and `ODD` draws what is odd in them.
CASES = ("typical", "neuropixels_column")
SLOW = (
    "zero_curated", "one_unit", "nan_metrics", "positive_peaks", "epochs", "seven_recordings", "plate_of_96",
)  # fmt: skip


@pytest.mark.parametrize("name", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_nothing_is_cut_and_no_labels_overlap(name: str) -> None:
    recordings = [FigureRecording(*case.triple) for case in gallery.CASES[name]()]
    for figure in overview_of(recordings):
        figure.draw_without_rendering()
        page = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert page.x0 >= -0.01
        assert page.y0 >= -0.01
        assert page.x1 <= width + 0.01
        assert page.y1 <= height + 0.01
        assert overlapping(figure) == []


def overview_of(recordings: list[FigureRecording]) -> list[Figure]:
    config, curation = FigureConfig(), CurationConfig()
    figures = [
        curation_bar_plot(recordings, config),
        std_scatter_plot(recordings, curation, config),
        all_templates_plot(recordings, config),
        quality_distributions(recordings, curation, config),
        raster_pop_rate(recordings, config),
    ]
    sd, rows = recordings[0].sd_all, recordings[0].outcome.unit_metrics
    return figures + [unit_page(sd, index, rows[index], config) for index in range(min(2, sd.N))]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Tick labels, axis labels and titles that touch another one of the same figure."""
    boxes = []
    for ax in figure.axes:
        if ax.axison:
            ticks = [label for axis in (ax.xaxis, ax.yaxis) for label in shown_tick_labels(axis)]
            boxes += [text for text in [*ticks, ax.xaxis.label, ax.yaxis.label, ax.title] if text.get_text()]
    drawn = [(text.get_text(), text.get_window_extent()) for text in boxes if text.get_visible()]
    return [
        (first, second)
        for index, (first, a) in enumerate(drawn)
        for second, b in drawn[index + 1 :]
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


def shown_tick_labels(axis: Any) -> list[Any]:
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in ticks if tick.label1.get_visible()]


def test_a_figure_that_no_viewer_opens_is_saved_smaller(tmp_path: Path) -> None:
    figure = Figure(figsize=(400, 1), dpi=100)
    with Image.open(save_figure(figure, tmp_path / "wide.png")) as image:
        assert image.size == (30_000, 75)
