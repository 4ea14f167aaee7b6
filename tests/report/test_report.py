"""What the pages say, and when they are written."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gallery import CASES, Case, make_case, record_of, square
from simulated import simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import GPUOutOfMemoryError, InsufficientActivityError, SortBatchError
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.spike_sorting.config import CurationConfig, SortingPipelineConfig
from spikelab.spike_sorting.curation.palette import palette_of
from spikelab.spike_sorting.report import IndexRow, ReportData, render_report, summarise, write_index
from spikelab.spike_sorting.report._plots import activity, isi_thumbnail, traces_picture
from spikelab.spike_sorting.report._probe import probe_map, unit_position
from spikelab.spike_sorting.report._svg import log_ticks, polyline, ticks
from spikelab.spike_sorting.report._words import duration, format_number, memory
from spikelab.spikedata import SpikeData

LOOSE: dict[str, Any] = {"sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1}
CONFIG = SortingPipelineConfig()


def page_of(case: Case, config: SortingPipelineConfig = CONFIG, **record: Any) -> str:
    return render_report(Path("/results"), record_of(case, **record), config, case.shown)


def words(html: str) -> str:
    """What a reader sees, on one line."""
    text = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


# ---- the page of a recording ----


def test_every_unit_is_in_the_table_with_two_pictures() -> None:
    html = page_of(make_case())
    assert re.findall(r'<tr id="unit-(\d+)"', html) == [str(i) for i in range(12)]
    assert html.count('class="thumb"') == 24


def test_everything_that_misses_its_threshold_is_marked() -> None:
    config = SortingPipelineConfig.from_kwargs(snr_min=8, metric_limits={"amplitude": [60, None]})
    case = make_case(config=config)
    html = page_of(case, config)
    rows = {row["unit_id"]: row for row in case.outcome.unit_metrics}
    several = False
    for unit, line in re.findall(r'<tr id="unit-(\d+)"(.*?)</tr>', html, flags=re.DOTALL):
        marked = re.findall(r'culprit" data-column="(\w+)"', line)
        row = rows[int(unit)]
        assert set(marked) == (set() if row["passed"] else set(row["failed_criteria"]))
        several |= len(marked) > 1
    assert several


def test_a_round_of_limits_has_a_bar_of_its_own() -> None:
    config = SortingPipelineConfig.from_kwargs(snr_min=None, metric_limits={"amplitude": [60, None]})
    case = make_case(config=config)
    counts = [case.units.N, case.outcome.sd_first.N, case.outcome.n_second, case.outcome.sd_curated.N]
    assert counts[2] > counts[3]
    found = re.findall(
        r'<span class="(\w+)" style="width:[\d.]+%"></span></div><div class="number">(\d+)', page_of(case, config)
    )
    assert found == list(zip(("found", "first", "second", "kept"), map(str, counts), strict=True))


def test_traces_say_of_how_many_channels_they_are() -> None:
    channels = [(f"{number}", np.sin(np.arange(1000.0))) for number in range(12)]
    assert "12 of 16 channels" in traces_picture(channels, 16, 0.5)
    assert "of 12" not in traces_picture(channels, 12, 0.5)


def test_kept_units_and_criteria_are_counted() -> None:
    case = make_case()
    failed = [row["failed_criterion"] for row in case.outcome.unit_metrics if not row["passed"]]
    text = words(page_of(case))
    assert f"{case.outcome.sd_curated.N} of 12 units kept" in text
    assert f"first ISI violations (per spike) at most 0.01 {failed.count('isi_violation')}" in text
    assert f"first SNR at least 5 {failed.count('snr')}" in text


def test_a_criterion_that_was_off_is_not_listed() -> None:
    config = CONFIG.override(snr_min=None, curate_second=False)
    text = words(page_of(make_case(config=config), config))
    assert "SNR at least" not in text
    assert "second Spikes" not in text


def test_a_criterion_that_is_not_ours_is_listed() -> None:
    case = make_case()
    row = next(row for row in case.outcome.unit_metrics if row["passed"])
    row |= {"passed": False, "failed_round": "merge", "failed_criterion": "merge_duplicates", "merged_into": 3}
    text = words(page_of(case))
    assert "merge merge duplicates 1" in text
    assert "merge duplicates into 3" in text


def test_200_units_are_small_and_quick() -> None:
    (case,) = CASES["200_units"]()
    page_of(make_case())  # the template is compiled once
    start = time.process_time()
    html = page_of(case)
    assert time.process_time() - start < 5
    assert len(html.encode()) < 3_000_000


@pytest.mark.parametrize("name", CASES)
def test_no_page_reaches_for_the_network(name: str) -> None:
    for case in CASES[name]()[:1]:
        html = page_of(case)
        assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*//', html)
        assert "url(" not in html
        drawn = re.sub(r"<script.*?</script>|base64,[^\"]*", "", html, flags=re.DOTALL)
        assert not re.search(r"\b(nan|NaN|inf)\b", drawn)


def test_names_and_messages_cannot_break_the_page() -> None:
    case = make_case('<img src=x onerror="alert(1)">')
    hostile = "</pre><script>alert(2)</script>"
    html = page_of(case, warnings=[hostile], error={"class": hostile, "message": hostile})
    assert "<img src=x" not in html
    assert "<script>alert" not in html


def test_settings_that_differ_from_the_preset_are_shown() -> None:
    config = CONFIG.override(sorter_name="rt_sort", snr_min=8, fr_min=None)
    text = words(page_of(make_case(), config))
    assert "curation.snr_min 8 5.0 Smallest signal-to-noise ratio" in text
    assert "curation.fr_min None 0.05" in text
    assert "sorter.sorter_name" not in text


def test_retries_and_warnings_are_shown() -> None:
    attempts = [
        {"sorter_params": {"batch_size": 60000}, "error": "GPUOutOfMemoryError: out of memory", "wall_s": 12.5},
        {"sorter_params": {"batch_size": 30000}, "error": None},
    ]
    text = words(page_of(make_case(), attempts=attempts, warnings=["3 samples were clipped"]))
    assert "failed batch_size = 60000, wall s = 12.5 GPUOutOfMemoryError: out of memory" in text
    assert "done batch_size = 30000" in text
    assert "3 samples were clipped" in text
    assert "Failures and retries" not in page_of(make_case())


def test_a_record_that_lacks_almost_everything_is_drawn() -> None:
    html = render_report(Path("/results"), {"status": "failed"}, CONFIG, ReportData())
    assert "No stage was finished" in words(html)


def test_warnings_of_a_recording_that_was_loaded_stay() -> None:
    case = make_case()
    record = record_of(case)
    record["stages"]["recording"]["report"]["warnings"] = ["the values look like volts"]
    record = {**record, "chosen": {"freq_max": "band-pass 300 to 4500 Hz (a low rate)"}}
    assert "nobody set it: band-pass 300 to 4500 Hz (a low rate)." in words(
        render_report(Path("/r"), record, CONFIG, case.shown)
    )
    assert "the values look like volts" in words(render_report(Path("/r"), record, CONFIG, case.shown))


def test_pages_have_the_colours_of_the_figures(tmp_path: Path) -> None:
    config = CONFIG.override(all_templates_color_curated="#005500", all_templates_color_failed="purple")
    html = page_of(make_case(), config)
    assert "--kept: #005500; --failed: #800080;" in html
    assert "--kept: #000000; --failed: #FF0000;" in page_of(make_case())
    write_index(tmp_path, "threshold", [IndexRow("a", "done", tmp_path)], palette_of(config.figures))
    assert "--kept: #005500; --failed: #800080;" in (tmp_path / "index.html").read_text()


def test_a_stage_that_needed_no_more_memory_says_so() -> None:
    case = make_case()
    record = record_of(case)
    record["stages"]["curation"]["set_peak_memory"] = False
    text = words(render_report(Path("/r"), record, CONFIG, case.shown))
    assert "curation 0.02 s 0.034 s not more ran" in text


def test_units_are_found_kept_and_named_on_the_probe() -> None:
    html = page_of(make_case())
    names = re.findall(r'<text class="id"[^>]*>(\d+)</text>', html)
    assert sorted(map(int, names)) == list(range(12))
    assert "found 12" in words(html)


def test_ids_on_the_probe_cover_nothing() -> None:
    (case,) = CASES["200_units"]()
    shown = probe_map(square(), case.units.neuron_attributes, set())
    assert shown is not None
    texts = re.findall(r'<text class="id" x="([-\d.]+)" y="([-\d.]+)" text-anchor="start">(\d+)<', shown.svg)
    boxes = np.array([(float(x), float(y) - 9, float(x) + 7 * len(name), float(y) + 2) for x, y, name in texts])
    for index, box in enumerate(boxes):
        others = np.delete(boxes, index, axis=0)
        apart = (others[:, :2] >= box[2:] - 0.11).any(axis=1) | (others[:, 2:] <= box[:2] + 0.11).any(axis=1)
        assert apart.all()
    assert f"For {200 - len(texts)} of the units there is no room for an id." in shown.notes


def test_a_unit_leads_to_its_page_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "figures/units/failed").mkdir(parents=True)
    (tmp_path / "figures/units/failed/unit_0002.png").touch()
    case = make_case()
    html = render_report(tmp_path, record_of(case), CONFIG, case.shown)
    assert html.count('href="figures/units/') == 2 - 1
    assert '<a href="figures/units/failed/unit_0002.png" aria-label="Page of unit 2">page</a>' in html


def test_what_is_noted_of_a_recording_is_among_its_facts() -> None:
    text = words(page_of(make_case(), metadata={"condition": "<b>drug</b>", "day": 7}))
    assert "condition &lt;b&gt;drug&lt;/b&gt; day 7" in text


# ---- the pictures ----


def test_raster_is_dark_where_there_are_spikes() -> None:
    sd = SpikeData([[100.0, 100.5, 900.0], [500.0]], length=1000)
    shown = activity(sd)
    with Image.open(io.BytesIO(base64.b64decode(shown.raster.partition(",")[2]))) as image:
        pixels = np.asarray(image)
    assert pixels.shape == (2, 1200)
    assert np.flatnonzero(pixels[0] < 255).tolist() == [120, 1080]
    assert np.flatnonzero(pixels[1] < 255).tolist() == [600]
    assert pixels[0, 120] <= pixels[0, 1080]
    assert shown.rate_max == pytest.approx(2 / 2 / 0.02)


@pytest.mark.parametrize("n_epochs", [1, 2, 64, 65, 2000])
def test_boundaries_of_very_many_epochs_are_not_drawn(n_epochs: int) -> None:
    edges = np.linspace(0, 1000, n_epochs + 1)
    chunks = np.column_stack([edges[:-1], edges[1:]]).tolist()
    shown = activity(SpikeData([[100.0]], length=1000, metadata={"rec_chunks_ms": chunks}))
    assert len(shown.boundaries) == (n_epochs - 1 if n_epochs <= 64 else 0)


def test_a_unit_lies_between_the_electrodes_that_see_it() -> None:
    locations = square(2, 40.0)
    unit = {"x": 0.0, "y": 0.0, "amplitudes": np.array([100.0, 100.0, 0.0, 0.0])}
    assert unit_position(unit, locations) == (20.0, 0.0)
    assert unit_position({"x": 40.0, "y": 0.0}, locations) == (40.0, 0.0)
    assert unit_position({**unit, "amplitudes": np.full(4, np.nan)}, locations) == (0.0, 0.0)


def test_a_far_electrode_does_not_move_a_unit() -> None:
    locations = np.array([[0.0, 0.0], [0.0, 500.0]])
    assert unit_position({"x": 0.0, "y": 0.0, "amplitudes": np.array([10.0, 10.0])}, locations) == (0.0, 0.0)


def test_a_column_is_laid_down_and_says_so() -> None:
    column = np.column_stack([np.zeros(100), np.arange(100) * 20.0])
    laid, flat = probe_map(column, [], set()), probe_map(square(), [], set())
    assert laid is not None
    assert flat is not None
    assert any("laid down" in note for note in laid.notes)
    assert flat.notes == []
    assert probe_map(np.empty((0, 2)), [], set()) is None


def test_all_intervals_are_in_the_histogram() -> None:
    assert "no intervals" in isi_thumbnail(1, np.empty(0), "kept")
    assert "3 inter-spike intervals of unit 1 from 0.5 ms to 20 s" in isi_thumbnail(
        1, np.array([4.1, 4.2, 6e5]), "kept"
    )


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 60, 5) == [0, 20, 40, 60]
    assert ticks(0, 3, 4, whole=True) == [0, 1, 2, 3]
    assert ticks(5, 5) == [5]
    assert log_ticks(0.05, 20) == pytest.approx([0.1, 1, 10])
    assert log_ticks(25, 400) == pytest.approx([50, 100, 200])


def test_lines_do_not_drift_by_rounding() -> None:
    points = [(0.03 * i, 0.07 * i) for i in range(1000)]
    steps = re.findall(r"[ml]([-\d.e]+) ([-\d.e]+)", polyline(*zip(*points, strict=True)))
    end = np.array(steps, dtype=float).sum(axis=0)
    np.testing.assert_allclose(end, points[-1], atol=0.06)


def test_numbers_are_words_for_readers() -> None:
    assert [format_number(v) for v in (float("nan"), float("inf"), None, 12, 4.2, 0.01234)] == [
        "n/a", "\N{INFINITY}", "\N{EN DASH}", "12", "4.20", "0.0123",
    ]  # fmt: skip
    assert [duration(v) for v in (0.5, 61, 3720, None)] == ["0.5 s", "1 min 1 s", "1 h 2 min", "\N{EN DASH}"]
    assert [memory(v) for v in (350.2, 2560)] == ["350 MiB", "2.5 GiB"]


# ---- in the pipeline ----


def test_a_second_call_does_not_touch_the_page_whose_paths_are_relative(tmp_path: Path) -> None:
    recording = simulate(duration_s=3.0).recording
    page = tmp_path / "out" / "report.html"
    sort_recording([recording], results_folders=[tmp_path / "out"], **LOOSE)
    html = page.read_text()
    assert "5 of 5 units kept" in words(html)
    assert str(tmp_path) not in html
    links = re.findall(r'<li><a href="([^"]+)"', html)
    assert "sorted_spikedata_curated.npz" in links
    assert all((tmp_path / "out" / link).exists() for link in links)
    before = page.stat().st_mtime_ns
    sort_recording([recording], results_folders=[tmp_path / "out"], **LOOSE)
    assert page.stat().st_mtime_ns == before
    sort_recording([recording], results_folders=[tmp_path / "out"], **{**LOOSE, "snr_min": 1000})
    assert "0 of 5 units kept" in words(page.read_text())
    page.unlink()
    sort_recording([recording], results_folders=[tmp_path / "out"], **{**LOOSE, "snr_min": 1000})
    assert page.exists()


def test_a_silent_recording_gets_a_page_that_explains(tmp_path: Path) -> None:
    silent = simulate(n_units=0, duration_s=3.0).recording
    with pytest.raises(InsufficientActivityError):
        sort_recording([silent], results_folders=[tmp_path / "out"], **LOOSE)
    page = tmp_path / "out" / "report.html"
    html = page.read_text()
    assert "nothing to sort" in words(html)
    assert "InsufficientActivityError" in words(html)
    assert "gain_to_uv" in words(html)
    assert 'aria-label="filtered traces"' in html
    before = page.stat().st_mtime_ns
    with pytest.raises(InsufficientActivityError):
        sort_recording([silent], results_folders=[tmp_path / "out"], **LOOSE)
    assert page.stat().st_mtime_ns == before


def test_retries_of_the_sorter_reach_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: Any, *_: Any) -> None:
        raise GPUOutOfMemoryError("no GPU memory left", sorter="threshold")

    monkeypatch.setattr(ThresholdBackend, "sort", no_memory)
    monkeypatch.setattr(ThresholdBackend, "batch_parameter", "detect_threshold", raising=False)
    monkeypatch.setattr(ThresholdBackend, "batch_default", 8, raising=False)
    with pytest.raises(GPUOutOfMemoryError):
        sort_recording([simulate(duration_s=3.0).recording], results_folders=[tmp_path / "out"], **LOOSE)
    text = words((tmp_path / "out" / "report.html").read_text())
    assert "out of resources" in text
    assert text.count("GPUOutOfMemoryError: no GPU memory left") == 3


def test_a_report_that_cannot_be_written_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from spikelab.spike_sorting import report

    def fail(*_: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(report, "write_report", fail)
    (found,) = sort_recording([simulate(duration_s=3.0).recording], results_folders=[tmp_path / "out"], **LOOSE)
    assert found.N == 5
    assert "the report could not be written: OSError: no room" in caplog.text


def test_a_batch_has_one_page(tmp_path: Path) -> None:
    inputs = [simulate(duration_s=3.0, seed=1).recording, simulate(duration_s=3.0, n_units=0).recording]
    folders = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(SortBatchError):
        sort_recording(inputs, results_folders=folders, **LOOSE)
    page = tmp_path / "sorted_threshold_overview" / "index.html"
    html = page.read_text()
    assert "1 of 2 sorted" in words(html)
    assert "nothing to sort" in words(html)
    links = re.findall(r'<a href="([^"#]+report.html)"', html)
    assert [(page.parent / link).resolve() for link in links] == [folder / "report.html" for folder in folders]
    before = page.stat().st_mtime_ns
    with pytest.raises(SortBatchError):
        sort_recording(inputs, results_folders=folders, **LOOSE)
    assert page.stat().st_mtime_ns == before


def test_index_of_what_was_not_attempted(tmp_path: Path) -> None:
    case = make_case()
    rows = [
        IndexRow("a b/ü", "done", tmp_path / "a b", "", 3.0, summarise(case.units, case.outcome, CurationConfig())),
        IndexRow("c", "environment failure", tmp_path / "c", "EnvironmentSortFailure: no MATLAB"),
        IndexRow("d", "not attempted", tmp_path / "d"),
    ]
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "report.html").write_text("")
    assert write_index(tmp_path / "overview", "kilosort2", rows)
    assert not write_index(tmp_path / "overview", "kilosort2", rows)
    html = (tmp_path / "overview" / "index.html").read_text()
    assert 'href="../a%20b/report.html"' in html
    assert html.count("report.html") == 1
    assert "not attempted" in words(html)
    assert "no MATLAB" in words(html)


def test_the_page_needs_no_matplotlib() -> None:
    import subprocess
    import sys

    script = (
        "import spikelab.spike_sorting.report, sys; sys.exit(any(m in sys.modules for m in ('matplotlib', 'jinja2')))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_run_record_is_unchanged_by_the_page(tmp_path: Path) -> None:
    sort_recording([simulate(duration_s=3.0).recording], results_folders=[tmp_path / "out"], **LOOSE)
    stages = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]
    assert list(stages) == ["recording", "sorting", "waveforms", "curation", "compilation", "evidence"]


def test_how_far_units_moved_is_a_column_where_that_is_known() -> None:
    moved = page_of(make_case(n_units=2, change=lambda unit: {**unit, "moved_um": 12.34, "size_ratio": 1.5}))
    assert "Moved (um)" in words(moved)
    assert len(re.findall(r'data-column="moved" data-value="12.34[^"]*" data-label="Moved \(um\)">12.3<', moved)) == 2
    assert "Moved" not in page_of(make_case(n_units=2))
