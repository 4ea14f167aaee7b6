"""The log of a run in a process with others: every record and warning goes to the run that it is of."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from simulated import simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.system.runlog import PACKAGE, captured_warnings, logged_warnings, run_log, warn
from spikelab.system.threads import ThreadPool

LOGGER = logging.getLogger("spikelab.spike_sorting.test")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Whatever a test does, loggers and warnings are in the end as they were."""

    def now() -> list[Any]:
        loggers = (logging.getLogger("spikelab"), PACKAGE)
        states = [(logger.level, logger.propagate, [*logger.handlers], [*logger.filters]) for logger in loggers]
        return [states, warnings.showwarning, [*warnings.filters]]

    before = now()
    yield
    assert now() == before


def in_threads(*works: Callable[[], object]) -> None:
    """Do all at once, and raise what the first raised."""
    with ThreadPool(len(works)) as pool:
        for task in [pool.submit(work) for work in works]:
            task.result()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_runs_that_end_in_any_order_keep_their_records(tmp_path: Path, order: tuple[int, int]) -> None:
    turns = [threading.Event() for _ in range(4)]
    collected: dict[int, list[str]] = {}

    def run(number: int) -> None:
        with run_log(tmp_path / str(number)) as collected[number]:
            LOGGER.info("begin %d", number)
            turns[number].set()
            assert turns[1 - number].wait(60)
            LOGGER.warning("middle %d", number)
            with ThreadPool(2) as pool:
                list(pool.map(lambda part: LOGGER.warning("part %d of %d", part, number), range(3)))
            if order[1] == number:
                assert turns[2].wait(60)
                LOGGER.info("alone %d", number)
        turns[2].set()

    in_threads(lambda: run(0), lambda: run(1))
    for number in (0, 1):
        lines = (tmp_path / str(number)).read_text().splitlines()
        expected = {f"begin {number}", f"middle {number}", *(f"part {part} of {number}" for part in range(3))}
        assert {line.split(maxsplit=3)[3] for line in lines} == expected | (
            {f"alone {number}"} if order[1] == number else set()
        )
        assert collected[number][0] == f"middle {number}"
        assert sorted(collected[number][1:]) == [f"part {part} of {number}" for part in range(3)]


def test_what_is_said_outside_of_a_run_goes_to_none(tmp_path: Path) -> None:
    with run_log(tmp_path / "log") as collected:
        thread = threading.Thread(target=LOGGER.warning, args=("of nobody",))
        thread.start()
        thread.join()
        LOGGER.warning("of the run")
    LOGGER.warning("afterwards")
    assert collected == ["of the run"]
    assert "nobody" not in (tmp_path / "log").read_text()
    assert "afterwards" not in (tmp_path / "log").read_text()


class Seen(logging.Handler):
    """Remembers what a handler of the user gets."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.mark.parametrize("name", ["", "spikelab", "spikelab.spike_sorting", "spikelab.spike_sorting.test"])
@pytest.mark.parametrize(
    ("level", "expected"), [(logging.WARNING, ["loud"]), (logging.DEBUG, ["low", "quiet", "loud"])]
)
def test_handlers_of_the_user_see_what_they_would(tmp_path: Path, name: str, level: int, expected: list[str]) -> None:
    seen, logger = Seen(), logging.getLogger(name)
    before = logger.level
    logger.addHandler(seen)
    logger.setLevel(level)
    try:
        with ExitStack() as runs:
            for number in range(2):
                runs.enter_context(run_log(tmp_path / str(number)))
            LOGGER.debug("low")
            LOGGER.info("quiet")
            LOGGER.warning("loud")
    finally:
        logger.removeHandler(seen)
        logger.setLevel(before)
    assert seen.messages == expected
    asked_for_less = name == LOGGER.name and level == logging.WARNING
    assert ("quiet" in (tmp_path / "1").read_text()) != asked_for_less
    assert (tmp_path / "0").read_text() == ""


def test_without_any_handler_warnings_still_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])
    with run_log(tmp_path / "log"):
        LOGGER.info("quiet")
        LOGGER.warning("loud")
    assert capsys.readouterr().err == "loud\n"


def test_warnings_of_python_are_of_the_block_that_they_came_from(tmp_path: Path) -> None:
    """Also where the user wants none, and from the threads of a block; and they are issued again afterwards."""
    both = threading.Barrier(2, timeout=60)
    collected: dict[str, list[str]] = {}

    def run(name: str) -> None:
        with run_log(tmp_path / name) as collected[name], logged_warnings(LOGGER):
            both.wait()
            warnings.warn(f"library in {name}", UserWarning, stacklevel=1)
            warn(f"ours in {name}")
            with ThreadPool(1) as pool:
                pool.submit(warnings.warn, f"thread in {name}", UserWarning).result()
            both.wait()

    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", ".* in b", UserWarning)
        in_threads(lambda: run("a"), lambda: run("b"))
    for name in "ab":
        assert collected[name] == [f"{what} in {name}" for what in ("library", "ours", "thread")]
        assert (tmp_path / name).read_text().count("warning: ") == 3
    assert [str(warning.message) for warning in shown] == collected["b"]


def test_another_thread_warns_as_if_there_were_no_run() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", "wanted", UserWarning)
        with logged_warnings(LOGGER):
            for text in ("wanted", "not to be seen"):
                thread = threading.Thread(target=warnings.warn, args=(text, UserWarning))
                thread.start()
                thread.join()
            assert [str(warning.message) for warning in shown] == ["wanted"]
    assert len(shown) == 1


def test_a_warning_that_was_shown_once_is_in_every_log(tmp_path: Path) -> None:
    def once() -> None:
        warnings.warn("the same place", UserWarning, stacklevel=1)

    with warnings.catch_warnings(record=True):
        warnings.simplefilter("default")
        once()
        for number in range(2):
            with run_log(tmp_path / str(number)) as collected, logged_warnings(LOGGER):
                once()
            assert collected == ["the same place"]


def test_what_libraries_say_is_unheard_and_nothing_stays_changed() -> None:
    """Two blocks in two threads, whose ends come in another order than in and out."""
    inside = threading.Event()

    def first() -> None:
        with captured_warnings() as caught:
            inside.set()
            warnings.warn("of a library", RuntimeWarning, stacklevel=1)
        assert [str(warning.message) for warning in caught] == ["of a library"]

    def second() -> None:
        assert inside.wait(60)
        with captured_warnings() as caught:
            pass
        assert not caught

    in_threads(first, second)


def test_sorts_in_threads_tell_of_themselves_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ThresholdBackend.load_recording
    both = threading.Barrier(2, timeout=60)

    def load(backend: ThresholdBackend, recording: Any) -> Any:
        both.wait()
        warnings.warn(f"{recording.get_num_samples()} samples", UserWarning, stacklevel=1)
        return original(backend, recording)

    monkeypatch.setattr(ThresholdBackend, "load_recording", load)
    made = {"long": simulate(duration_s=12.0).recording, "short": simulate(duration_s=1.5).recording}

    def sort(name: str) -> None:
        sort_recording(
            [made[name]],
            sorter="threshold",
            results_folders=[tmp_path / name],
            intermediate_folders=[tmp_path / f"inter_{name}"],
            spikes_min_first=1,
            spikes_min_second=1,
            n_jobs=2,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        in_threads(lambda: sort("long"), lambda: sort("short"))
    told = {name: json.loads((tmp_path / name / "run.json").read_text())["warnings"] for name in made}
    samples = {name: f"{recording.get_num_samples()} samples" for name, recording in made.items()}
    assert told["long"] == [samples["long"]]
    assert told["short"][0] == samples["short"]
    assert any("1.5 s long" in warning for warning in told["short"])
    for name, other in (("long", "short"), ("short", "long")):
        (log,) = (tmp_path / name).glob("*.out")
        assert f"results go to {tmp_path / name}" in log.read_text()
        assert str(tmp_path / other) not in log.read_text()
        assert samples[other] not in (tmp_path / name / "report.html").read_text()
