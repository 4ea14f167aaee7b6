"""One server per folder, what it tells instead of serving, and what is left when it is killed."""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikelab.spike_sorting.decisions import read
from spikelab.spike_sorting.run.lock import locked
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.view import AlreadyServedError, serve
from spikelab.spike_sorting.view.claim import FOLDER
from spikelab.spike_sorting.view.server import Handler
from viewing import Client


def test_a_second_server_is_refused_and_told_the_address_of_the_first(copied: Path, served: Callable[..., Any]) -> None:
    first = served(copied)
    with pytest.raises(AlreadyServedError, match=f"http://127.0.0.1:{first.port}/") as refused, serve(copied):
        pass
    assert first.token not in str(refused.value)
    assert str(os.getpid()) in str(refused.value)
    assert first.get("state")["steps"] == []


def test_nothing_of_a_server_stays_in_the_folder(copied: Path) -> None:
    before = sorted(copied.iterdir())
    with serve(copied):
        assert (copied / FOLDER).is_dir()
    assert sorted(copied.iterdir()) == before


def test_a_folder_that_is_sorted_now_or_holds_no_sort_is_told(copied: Path, tmp_path: Path) -> None:
    with locked(copied, tmp_path / "scratch"), pytest.raises(ValueError, match="a sort is under way"), serve(copied):
        pass
    with pytest.raises(FileNotFoundError, match="no results folder"), serve(tmp_path):
        pass
    record = json.loads((copied / "run.json").read_text())
    (copied / "run.json").write_text(json.dumps(record | {"status": "interrupted"}))
    with pytest.raises(FileNotFoundError, match="no finished sort"), serve(copied):
        pass


def test_a_port_that_is_in_use_is_an_error_and_frees_the_folder(copied: Path, served: Callable[..., Any]) -> None:
    other = copied.parent / "other"
    shutil.copytree(copied, other)
    port = served(copied).port
    with pytest.raises(OSError, match="in use"), serve(other, port):
        pass
    with serve(other):
        pass


@pytest.mark.parametrize("change", ["grows", "is cut short"])
def test_a_log_that_changes_while_it_is_sent(
    copied: Path, served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    log, begin = copied / "sort_again.log", Handler._begin
    log.write_bytes(b"line\n" * 50_000)

    def begin_and_change(self: Handler, size: int, *values: Any, **more: Any) -> None:
        begin(self, size, *values, **more)
        with log.open("r+b") as file:
            file.truncate(1000 if change == "is cut short" else 500_000)

    client = served(copied)
    monkeypatch.setattr(Handler, "_begin", begin_and_change)
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=30)
    headers = {"Cookie": f"spikelab-{client.port}={client.token}"}
    connection.request("GET", "/sort_again.log", headers=headers)
    answer = connection.getresponse()
    if change == "is cut short":
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    else:
        assert answer.read() == b"line\n" * 50_000
        connection.request("GET", "/api/state", headers=headers)  # on the same connection
        assert json.loads(connection.getresponse().read())["steps"] == []
    connection.close()


def test_decisions_that_were_made_on_other_spikes_are_told(copied: Path) -> None:
    content = {"format": "spikelab decisions 1", "sort": "another", "steps": [], "done": 0}
    (copied / "decisions.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="other units or spikes"), serve(copied):
        pass


def test_traces_that_are_gone_are_filtered_again_or_told(copied: Path, served: Callable[..., Any]) -> None:
    before = Results.open(copied).recording.counts[:1000, 0].tobytes()
    shutil.rmtree(copied / "intermediate")
    client = served(copied)
    end = time.monotonic() + 120
    while (answer := client.get("traces?start=0&frames=1000&pixels=2000&channels=0")).get("wait"):
        assert "filtered again" in answer["note"]
        assert time.monotonic() < end
        time.sleep(0.1)
    assert "filtered again" in answer["note"]
    assert base64.b64decode(answer["counts"]) == before


def test_traces_that_cannot_be_had_say_why(copied: Path, served: Callable[..., Any]) -> None:
    shutil.rmtree(copied / "intermediate")
    shutil.rmtree(copied.parent / "dish")
    client = served(copied)
    while (answer := client.get("traces?start=0&frames=1000&pixels=2000&channels=0")).get("wait"):
        time.sleep(0.05)
    assert "no recording at" in answer["note"]
    answer = client.post(
        "act", {"revision": "", "step": {"do": "split", "unit": 0, "by": "amplitude", "points": [[0, 1], [2, 1]]}}, 400
    )
    assert "no recording at" in answer["error"]


def test_a_report_that_is_missing_is_written_anew_and_one_of_other_scripts_is_told(copied: Path) -> None:
    (copied / "report.html").unlink()
    with serve(copied):
        assert (copied / "report.html").is_file()
    text = (
        (copied / "report.html")
        .read_text(encoding="utf-8")
        .replace("redone(", "redone_(")
        .replace("replayed(", "other(")
    )
    (copied / "report.html").write_text(text, encoding="utf-8")
    with serve(copied):  # its seal is broken: it is damaged, and written anew
        assert "replayed(" in (copied / "report.html").read_text(encoding="utf-8")


SERVER = """
import sys
from spikelab.spike_sorting.view import serve
with serve(sys.argv[1]) as served:
    print(served.address, flush=True)
    served.server.serve_forever()
"""


def test_a_server_that_is_killed_loses_no_answered_step_and_gives_up_its_folder(copied: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(copied)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        client = Client(process.stdout.readline().strip())
        units = [unit["id"] for unit in client.get("state")["units"]]
        for number in range(5):
            client.act(do="mark", units=[units[number % len(units)]], label=f"label {number}")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert [step["label"] for step in read(copied / "decisions.json").steps] == [f"label {i}" for i in range(5)]
    (copied / FOLDER / "traces.dat").write_bytes(b"left behind")
    with serve(copied):
        assert not (copied / FOLDER / "traces.dat").exists()
    assert not (copied / FOLDER).exists()
