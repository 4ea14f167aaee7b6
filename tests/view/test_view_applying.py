"""The run that applies decisions is stopped at any moment."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spikelab.spike_sorting.view import applying
from spikelab.spike_sorting.view.applying import STOPPED, Applying


class Children:
    """Starts children that sleep, each when it is let go."""

    def __init__(self) -> None:
        self.asked, self.go, self.started = threading.Event(), threading.Event(), []
        self.popen = subprocess.Popen

    def __call__(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        self.asked.set()
        assert self.go.wait(60)
        self.started.append(self.popen([sys.executable, "-c", "import time; time.sleep(60)"], **options))
        return self.started[-1]


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    found = Children()
    monkeypatch.setattr(applying.subprocess, "Popen", found)
    return found


@pytest.fixture
def run() -> Applying:
    ended = threading.Event()
    session = SimpleNamespace(hold=lambda *_: None, release=ended.set, results=SimpleNamespace(folder=Path("out")))
    return Applying(session, lambda: None)  # type: ignore[arg-type]


def test_it_is_stopped_before_its_child_is_there(run: Applying, children: Children) -> None:
    assert run.start({"revision": ""})["status"] == "running"
    assert children.asked.wait(60)
    stops = threading.Thread(target=run.stop)
    stops.start()
    time.sleep(0.05)  # the child comes after the wish to stop
    children.go.set()
    stops.join(60)
    assert run.progress() == {"status": "failed", "error": STOPPED}
    assert [child.poll() is not None for child in children.started] == [True]


def test_it_is_stopped_while_its_child_runs_and_can_start_again(run: Applying, children: Children) -> None:
    children.go.set()
    for number in (1, 2):
        run.start({"revision": ""})
        while len(children.started) < number or run._child is None:
            time.sleep(0.01)
        assert run.stop() == {"status": "failed", "error": STOPPED}
    assert run.stop()["status"] == "failed"
