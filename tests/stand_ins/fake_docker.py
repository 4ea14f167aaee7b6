"""A docker daemon on a socket: enough of its protocol for docker's Python client as SpikeInterface uses it.

Images are names. Commands of a container really run, on this host, so that whatever is mounted is where it is anyway.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socketserver
import struct
import subprocess
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

API = "1.43"


@dataclass
class Container:
    id: str
    image: str
    binds: list[str]
    status: str = "created"
    processes: list[subprocess.Popen] = field(default_factory=list)

    def mounts(self, folder: str) -> bool:
        return any(folder in bind.split(":")[:2] for bind in self.binds)

    def as_json(self) -> dict:
        return {
            "Id": self.id,
            "Name": f"/stand_in_{self.id[:8]}",
            "Image": f"sha256:{'0' * 64}",
            "State": {"Status": self.status},
            "Config": {"Image": self.image, "Labels": {}},
        }

    def kill(self) -> None:
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


class FakeDocker(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A daemon, as a context manager; its socket's address is `host`.

    Attributes
    ----------
    images : set of str
        Those that are on this host.
    pull_error, start_error : (int, str) or None
        Status and message with which a pull, or the start of a container, fails.
    path : str
        ``PATH`` of the commands in containers.
    created, removed : list of str
        Ids of containers.
    """

    daemon_threads = True

    def __init__(self, images: set[str], path: str) -> None:
        self.images, self.path = images, path
        self.pull_error: tuple[int, str] | None = None
        self.start_error: tuple[int, str] | None = None
        self.containers: dict[str, Container] = {}
        self.execs: dict[str, tuple[Container, list[str]]] = {}
        self.created: list[str] = []
        self.removed: list[str] = []
        self.commands: list[list[str]] = []
        self.folder = Path(tempfile.mkdtemp(prefix="docker"))  # the path of a socket must be short
        super().__init__(str(self.folder / "docker.sock"), Handler)
        self.host = f"unix://{self.folder / 'docker.sock'}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()
        for container in self.containers.values():
            container.kill()
        shutil.rmtree(self.folder)


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    server: FakeDocker
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def address_string(self) -> str:
        return "client"

    def do_GET(self) -> None:
        self.route("GET")

    def do_POST(self) -> None:
        self.route("POST")

    def do_DELETE(self) -> None:
        self.route("DELETE")

    def route(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = json.loads(self.rfile.read(length) or b"null")
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        path = re.sub(r"^/v[\d.]+", "", unquote(parts.path))
        for verb, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if verb == method and match is not None:
                action(self, *match.groups())
                return
        self.answer(501, {"message": f"the stand-in does not know {method} {path}"})

    def answer(self, status: int, content: object = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version(self) -> None:
        self.answer(200, {"Version": "stand-in", "ApiVersion": API, "MinAPIVersion": "1.24"})

    def ping(self) -> None:
        self.answer(200, "OK")

    def image(self, name: str) -> None:
        if name.removesuffix(":latest") in self.server.images:
            self.answer(200, {"Id": f"sha256:{'0' * 64}", "RepoTags": [name]})
        else:
            self.answer(404, {"message": f"No such image: {name}"})

    def pull(self) -> None:
        if self.server.pull_error is not None:
            status, message = self.server.pull_error
            self.answer(status, {"message": message})
            return
        self.server.images.add(self.query["fromImage"][0])
        self.answer(200, {"status": "Download complete"})

    def create(self) -> None:
        container = Container(uuid.uuid4().hex * 2, self.body["Image"], self.body["HostConfig"].get("Binds") or [])
        self.server.containers[container.id] = container
        self.server.created.append(container.id)
        self.answer(201, {"Id": container.id, "Warnings": []})

    def list_containers(self) -> None:
        filters = json.loads(self.query.get("filters", ["{}"])[0])
        folders = filters.get("volume", [])
        found = [c for c in self.server.containers.values() if all(c.mounts(folder) for folder in folders)]
        self.answer(200, [container.as_json() for container in found])

    def inspect(self, name: str) -> None:
        container = self.server.containers.get(name)
        if container is None:
            self.answer(404, {"message": f"No such container: {name}"})
        else:
            self.answer(200, container.as_json())

    def start(self, name: str) -> None:
        if self.server.start_error is not None:
            status, message = self.server.start_error
            self.answer(status, {"message": message})
            return
        self.server.containers[name].status = "running"
        self.answer(204)

    def stop(self, name: str) -> None:
        self.server.containers[name].status = "exited"
        self.server.containers[name].kill()
        self.answer(204)

    def remove(self, name: str) -> None:
        self.server.containers.pop(name).kill()
        self.server.removed.append(name)
        self.answer(204)

    def create_exec(self, name: str) -> None:
        command = self.body["Cmd"]
        number = uuid.uuid4().hex
        command = shlex.split(command) if isinstance(command, str) else command
        self.server.execs[number] = (self.server.containers[name], command)
        self.server.commands.append(command)
        self.answer(201, {"Id": number})

    def start_exec(self, number: str) -> None:
        """Run the command, then send what it printed as one frame on the raw connection."""
        container, command = self.server.execs[number]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["PATH"] = self.server.path
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        container.processes.append(process)
        output, _ = process.communicate()
        self.send_response(101, "UPGRADED")
        self.send_header("Content-Type", "application/vnd.docker.raw-stream")
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "tcp")
        self.end_headers()
        self.wfile.flush()
        time.sleep(0.05)  # the client reads the headers through a buffer, and the frames from the socket
        self.wfile.write(struct.pack(">BxxxL", 1, len(output)) + output)
        self.close_connection = True

    def inspect_exec(self, number: str) -> None:
        container, _ = self.server.execs[number]
        self.answer(200, {"ExitCode": container.processes[-1].returncode})


ROUTES = (
    ("GET", "/version", Handler.version),
    ("GET", "/_ping", Handler.ping),
    ("GET", "/images/(.+)/json", Handler.image),
    ("POST", "/images/create", Handler.pull),
    ("POST", "/containers/create", Handler.create),
    ("GET", "/containers/json", Handler.list_containers),
    ("GET", "/containers/([^/]+)/json", Handler.inspect),
    ("POST", "/containers/([^/]+)/start", Handler.start),
    ("POST", "/containers/([^/]+)/stop", Handler.stop),
    ("DELETE", "/containers/([^/]+)", Handler.remove),
    ("POST", "/containers/([^/]+)/exec", Handler.create_exec),
    ("POST", "/exec/([^/]+)/start", Handler.start_exec),
    ("GET", "/exec/([^/]+)/json", Handler.inspect_exec),
)
