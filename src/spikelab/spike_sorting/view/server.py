"""The server: takes a request, checks it, looks up who answers it, and writes the answer.

No part of an address is ever made into a path: pages, files and functions are looked up in tables.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from spikelab.spike_sorting.view.guard import HEADERS, HOST, JSON, Guard, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

Query: TypeAlias = dict[str, Any]
API = "/api/"
CHUNK_BYTES = 1 << 16
IDLE_S = 30.0  # after which a connection on which nothing comes is closed
TEXT, PAGE, BYTES = "text/plain; charset=utf-8", "text/html; charset=utf-8", "application/octet-stream"
TYPES = {".png": "image/png", **dict.fromkeys((".csv", ".json", ".toml", ".log", ".out", ".txt", ".py"), TEXT)}


class StaleError(Exception):
    """Change that is based on a state which is not the newest any more; `state` is the newest."""

    def __init__(self, state: dict[str, Any]) -> None:
        super().__init__("another window, or another program, changed the decisions meanwhile")
        self.state = state


@dataclass(frozen=True)
class Answers:
    """What a server answers: the page, functions by name, and files by address."""

    page: Callable[[], tuple[str, str]]  # HTML, and its policy
    get: Mapping[str, Callable[[Query], dict[str, Any]]]
    post: Mapping[str, Callable[[Query], dict[str, Any]]]
    files: Mapping[str, Path]


class Server(ThreadingHTTPServer):
    """HTTP on loopback; each request in a thread of its own."""

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows it would let two servers have one port

    def __init__(self, port: int, make_answers: Callable[[Guard], Answers]) -> None:
        super().__init__((HOST, port), Handler)
        self.guard = Guard(self.server_address[1])
        self.answers = make_answers(self.guard)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as the base class names it
        """Log a connection that broke: a browser that was closed is no error."""
        logger.debug("a connection from %s ended: %r", client_address, sys.exception())


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "spikelab", ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        """Answer a request for the page, a file, or values."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer a change."""
        self._answer(self._post)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002 - named by http.server
        """Log a request without its address, which may hold the token."""
        logger.debug("%s", self.command)

    def _answer(self, answer: Callable[[str, Query], None]) -> None:
        try:
            headers = dict(self.headers.items())
            self.server.guard.require_host(headers)
            parts = urlsplit(self.path)
            query: Query = dict(parse_qsl(parts.query, max_num_fields=20))
            self.server.guard.require_token(headers, query.get("token"))
            answer(parts.path, query)
        except RefusedError as error:
            self._refuse(error.status, str(error))
        except StaleError as error:
            self._send_json({"error": str(error), "state": error.state}, HTTPStatus.CONFLICT)
        except (ValueError, KeyError, TypeError) as error:
            logger.debug("a request was refused", exc_info=True)
            self._refuse(HTTPStatus.BAD_REQUEST, _words(error))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception as error:
            logger.exception("a request failed")
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")

    def _get(self, path: str, query: Query) -> None:
        answers = self.server.answers
        if path == "/":
            page, policy = answers.page()
            more = {"Content-Security-Policy": policy, "Set-Cookie": self.server.guard.set_cookie}
            self._send(page.encode(), PAGE, more=more)
        elif path in answers.files:
            self._send_file(answers.files[path])
        elif path.removeprefix(API) in answers.get and path.startswith(API):
            self._send_json(answers.get[path.removeprefix(API)](query))
        else:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is nothing at this address")

    def _post(self, path: str, _: Query) -> None:
        length = self.server.guard.body_length(dict(self.headers.items()))
        answer = self.server.answers.post.get(path.removeprefix(API)) if path.startswith(API) else None
        if answer is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        try:
            values = json.loads(self.rfile.read(length))
        except RecursionError as error:
            raise ValueError("the request is nested too deeply") from error
        if not isinstance(values, dict):
            raise TypeError(f"expected a JSON object, got {type(values).__name__}")
        self._send_json(answer(values))

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer with an error, and close: what the body holds was perhaps not read."""
        self.close_connection = True
        self._send_json({"error": text}, status, more={"Connection": "close"})

    def _send_json(
        self, values: dict[str, Any], status: HTTPStatus = HTTPStatus.OK, more: Mapping[str, str] | None = None
    ) -> None:
        self._send(json.dumps(values, separators=(",", ":"), allow_nan=False).encode(), JSON, status, more)

    def _send(
        self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK, more: Mapping[str, str] | None = None
    ) -> None:
        self._begin(len(body), kind, status, more)
        self.wfile.write(body)

    def _send_file(self, path: Path) -> None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self._begin(
                size, TYPES.get(path.suffix, BYTES), more={"Content-Security-Policy": "default-src 'none'; sandbox"}
            )
            self._copy(file, size)

    def _copy(self, file: BinaryIO, size: int) -> None:
        """Send as much of a file as was announced: it may grow, or be cut short, meanwhile."""
        left = size
        while left and (part := file.read(min(left, CHUNK_BYTES))):
            self.wfile.write(part)
            left -= len(part)
        if left:
            self.close_connection = True  # what follows would be taken for the rest

    def _begin(
        self, size: int, kind: str, status: HTTPStatus = HTTPStatus.OK, more: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(size), **HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()


def _words(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
