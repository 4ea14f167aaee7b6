"""A client of a server of ``spikelab view``, for its tests."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Client:
    """A client of one server, with its token in a cookie."""

    address: str
    cookie: bool = True

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
