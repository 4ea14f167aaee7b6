"""The bar of a single sort on a terminal, and its lines elsewhere."""

from __future__ import annotations

import io
import logging
import sys
import time
from typing import TYPE_CHECKING

import pytest

from spikelab.cli import _progress
from spikelab.cli._log import log_to_terminal
from spikelab.cli._progress import Board, bar_of, line_of, shown_progress
from spikelab.system import progress
from spikelab.system.progress import Progress, ignore, part_of_work, watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that have passed, which a test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_has_the_name_of_the_work_and_what_is_left(clock: list[float]) -> None:
    stage, work = Progress("sorting"), Progress("RT-Sort", 100.0)
    with work.step("RT-Sort: detecting spikes", 50.0), Progress("RT-Sort: detecting spikes", 10.0) as detecting:
        clock[0] = 30.0
        detecting.update(5.0)
        assert line_of([stage, detecting]) == "sorting: RT-Sort: detecting spikes, 25 %, about 2 min left"
        bar = bar_of([stage, detecting], 120)
        assert bar == f"[{'#' * 6}{'-' * 18}] 25 %, about 2 min left  sorting: RT-Sort: detecting spikes"
    assert work.share == 0.5
    assert line_of([stage]) == "sorting, 30 s so far"
    assert bar_of([stage], 30) == "sorting, 30 s so far"
    assert (line_of([]), bar_of([], 80)) == ("", "")


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (79, "[###---------] 25 %, about 2 min left  RT-Sort: grouping spikes that look alike"),
        (73, "[###---------] 25 %, about 2 min left  grouping spikes that look alike"),
        (59, "25 %, about 2 min left  grouping spikes that look alike"),
        (40, "25 %, about 2 min left  grouping spik..."),
        (8, "25 %, ab"),
    ],
)
def test_no_word_of_the_bar_is_cut_where_there_is_another_way(clock: list[float], width: int, expected: str) -> None:
    stage, work = Progress("sorting"), Progress("RT-Sort: grouping spikes that look alike", 100.0)
    clock[0] = 30.0
    work.update(25.0)
    assert bar_of([stage, work], width) == expected
    clock[0] = 60.0
    work.update(1.0)
    assert bar_of([stage, work], width).partition("left")[2] == expected.partition("left")[2]  # nothing jumps


def test_an_estimate_runs_down_and_never_grows_while_nothing_moves(clock: list[float]) -> None:
    work = Progress("RT-Sort", 100.0)
    clock[0] = 100.0
    work.update(50.0)
    seen = []
    for clock[0] in (100.0, 140.0, 190.0, 201.0, 900.0):
        seen.append(work.words())
    assert seen == ["50 %, about 2 min left", "50 %, about 1 min left", "50 %, about 10 s left", "50 %", "50 %"]
    work.update(1.0)
    assert work.words() == "51 %, about 14 min left"


def test_steps_of_steps_move_the_whole_and_never_beyond(clock: list[float]) -> None:
    whole, shares = Progress("RT-Sort", 100.0), []
    with whole.step("finding", 80.0), Progress("inner", 10.0).step("counting", 5.0):
        for _ in range(2):  # twice over the recording
            with Progress("chunks", 4) as chunks:
                for _ in range(4):
                    chunks.update()
                    shares.append(whole.share)
    assert shares == [0.1, 0.2, 0.3, 0.4, 0.4, 0.4, 0.4, 0.4]
    assert whole.share == 0.8


def test_between_two_steps_the_bar_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "DRAW_EVERY_S", 60.0)
    board = Board(logging.StreamHandler(io.StringIO()), live=False)
    with watched(board.watch), Progress("sorting"):
        assert line_of(board.shown) == "sorting, 0 s so far"
        work = Progress("RT-Sort", 10.0)
        with work.step("RT-Sort: detecting spikes", 5.0):
            pass
        assert line_of(board.shown).startswith("sorting: RT-Sort, 50 %")
        with work.step("RT-Sort: assigning spikes", 5.0):
            pass
        assert line_of(board.shown) == "sorting, 0 s so far"  # all is done
    assert board.shown == []
    board.close()


def test_progress_is_logged_where_nobody_watches(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with part_of_work("group left"), Progress("writing", 4) as writing:
        for _ in range(4):
            clock[0] += 6.0
            writing.update()
    assert caplog.messages == [
        "writing, group left: 50 %, about 15 s left",
        "writing, group left: 100 %",
    ]
    caplog.clear()
    with watched(ignore), Progress("writing", 4) as writing:
        clock[0] += 60.0
        writing.update()
    assert caplog.messages == []


def test_lines_of_the_log_stay_whole_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(_progress, "DRAW_EVERY_S", 60.0)  # drawn by hand
    handler = logging.StreamHandler(terminal)
    handler.setFormatter(logging.Formatter("%(message)s"))
    board = Board(handler, live=True)
    with watched(board.watch), Progress("writing", 4) as writing:
        writing.update()
        board.draw()
        handler.handle(logging.makeLogRecord({"msg": "two\nlines"}))
        handler.handle(logging.makeLogRecord({"msg": "one"}))
        board.draw()
    board.close()
    first, second, third, last = terminal.getvalue().split("\n")
    assert first.split("\r")[1].startswith("[###---------] 25 %")
    assert first.split("\r")[2] == "two\x1b[K"
    assert (second, third) == ("lines", "one")
    assert last.endswith("\r\x1b[K")
    assert handler.formatter is not None
    assert handler.formatter.format(logging.makeLogRecord({"msg": "as before"})) == "as before"


def test_elsewhere_a_line_comes_from_time_to_time_and_none_when_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_progress, "DRAW_EVERY_S", 0.01)
    monkeypatch.setattr(_progress, "LINE_EVERY_S", 0.0)
    for level, expected in ((logging.INFO, True), (logging.WARNING, False)):
        written = io.StringIO()
        monkeypatch.setattr(sys, "stderr", written)
        log_to_terminal(level)
        with shown_progress(), Progress("writing", 4) as writing:
            writing.update()
            end = time.monotonic() + 20
            while expected and "writing, 25 %" not in written.getvalue() and time.monotonic() < end:
                time.sleep(0.01)
        assert ("writing, 25 %" in written.getvalue()) == expected
        assert "\r" not in written.getvalue()


def test_a_sort_is_watched(run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every stage that runs, and the work within."""
    from tests.simulated import save_recording, simulate

    labels: dict[str, None] = {}
    watch = Board.watch

    def noted(self: Board, work: Progress) -> None:
        labels.setdefault(work.label)
        watch(self, work)

    monkeypatch.setattr(Board, "watch", noted)
    recording = save_recording(simulate(duration_s=2.0).recording, tmp_path / "culture")
    done = run("sort", str(recording), "--sorter", "threshold", "--set", "n_jobs=1", "--results", str(tmp_path / "out"))
    assert done.exit_code == 0
    assert [label for label in labels if " " not in label] == [
        "recording", "sorting", "waveforms", "curation", "compilation", "evidence",
    ]  # fmt: skip
    assert "writing the binary recording" in labels
