"""A sorted folder that is made once, a server on a copy of it in a thread, and a client that speaks to it."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from simulated import save_recording, simulate_dense
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.view import serve

SETTINGS = {
    "sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1, "create_figures": False,
    "random_seed": 1,
}  # fmt: skip


@pytest.fixture(scope="session")
def sorted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording (``dish``) and its results (``out``), intermediate files included."""
    root = tmp_path_factory.mktemp("sorted")
    save_recording(simulate_dense(duration_s=6.0).recording, root / "dish")
    sort_recording(
        [root / "dish"],
        results_folders=[root / "out"],
        intermediate_folders=[root / "out" / "intermediate"],
        delete_inter=False,
        **SETTINGS,
    )
    return root


@dataclass
class Client:
    """A client of one server, with its token in a cookie."""

    address: str
    cookie: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(urlsplit(self.address).port or 0)

    @property
    def token(self) -> str:
        return self.address.partition("token=")[2]

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of an answer; a header of "" is not sent."""
        sent = {"Host": f"127.0.0.1:{self.port}"} | (
            {"Cookie": f"spikelab-{self.port}={self.token}"} if self.cookie else {}
        )
        if method == "POST":
            sent |= {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {name: value for name, value in sent.items() if value})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, name: str) -> Any:
        """Values of an answer that is expected to be one."""
        status, _, body = self.ask("GET", f"/api/{name}")
        assert status == 200, body
        return json.loads(body)

    def post(self, name: str, values: Any, expected: int = 200) -> Any:
        """Values of the answer to a change."""
        status, _, body = self.ask("POST", f"/api/{name}", json.dumps(values))
        assert status == expected, body
        return json.loads(body)

    def act(self, **step: Any) -> Any:
        """Add a step to the newest decisions."""
        return self.post("act", {"revision": self.get("state")["revision"], "step": step})


@pytest.fixture
def copied(sorted_once: Path, tmp_path: Path) -> Path:
    """Results folder of a copy."""
    shutil.copytree(sorted_once, tmp_path / "moved", copy_function=shutil.copy2)
    return tmp_path / "moved" / "out"


@pytest.fixture
def served() -> Iterator[Callable[..., Client]]:
    """A function that serves a results folder until the end of the test."""
    open_ones = []

    def start(results: Path, **options: Any) -> Client:
        context = serve(results, **options)
        found = context.__enter__()
        thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        open_ones.append((context, found, thread))
        return Client(found.address)

    yield start
    for context, found, thread in open_ones:
        found.server.shutdown()
        thread.join()
        context.__exit__(None, None, None)


@pytest.fixture
def client(copied: Path, served: Callable[..., Client]) -> Client:
    return served(copied)
