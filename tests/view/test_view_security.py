"""What the server refuses: other hosts, other sites, no token, paths, large bodies; and what a page cannot run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikelab.spike_sorting.view.guard import MOST_BYTES, Guard, RefusedError, content_policy
from spikelab.spike_sorting.view.page import linked_files

EVIL = "http://evil.example"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1:1"},
        {"Host": "127.0.0.1"},
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Cookie": "spikelab-{port}=wrong"},
        {"Cookie": ""},
        {"Cookie": "a=b; ;;=; \x01"},
    ],
)
def test_another_host_another_site_and_no_token_are_refused(
    looking: Any, looked_at: Path, headers: dict[str, str]
) -> None:
    sent = {name: value.format(port=looking.port) for name, value in headers.items()}
    step = json.dumps({"revision": "", "step": {"do": "mark", "units": [0], "label": "x"}})
    for method, path, body in (("GET", "/", None), ("GET", "/api/state", None), ("POST", "/api/act", step)):
        status, found, _ = looking.ask(method, path, body, **sent)
        assert status == 403
        assert "set-cookie" not in found
    assert not (looked_at / "decisions.json").exists()


def test_the_first_address_has_the_token_and_gives_a_strict_cookie(client: Any) -> None:
    client.cookie = False
    status, headers, page = client.ask("GET", f"/?token={client.token}")
    assert status == 200
    cookie = headers["set-cookie"]
    assert "SameSite=Strict" in cookie
    assert "HttpOnly" in cookie
    assert client.ask("GET", "/api/state", Cookie=cookie.partition(";")[0])[0] == 200
    assert client.token not in page.decode()
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/../run.json", "/..%2frun.json", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/etc/passwd",
        "/.spikelab-view/address.txt", "/figures/../../dish/traces_cached_seg0.raw", "/stages/sorting/spikes.npz",
        "/api/../run.json", "/api/", "/api/__class__",
        "/run.json/", "/run.json%00.png", "/C:\\Windows\\win.ini", "/api/state/../traces",
    ],
)  # fmt: skip
def test_addresses_are_looked_up_and_never_become_paths(looking: Any, path: str) -> None:
    assert looking.ask("GET", path)[0] == 404


def test_links_that_lead_out_of_the_folder_are_not_served(copied: Path) -> None:
    secret = copied.parent / "secret.csv"
    secret.write_text("secret")
    (copied / "leak.csv").symlink_to(secret)
    found = linked_files(copied)
    assert "/leak.csv" not in found
    assert "/unit_metrics.csv" in found


def test_files_of_the_report_are_served_as_they_are_and_run_nothing(looking: Any, looked_at: Path) -> None:
    status, headers, body = looking.ask("GET", "/unit_metrics.csv")
    assert status == 200
    assert body == (looked_at / "unit_metrics.csv").read_bytes()
    assert headers["content-type"].startswith("text/plain")
    assert "sandbox" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_refused(looking: Any, method: str) -> None:
    assert looking.ask(method, "/api/act")[0] == 501


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content_Length": str(MOST_BYTES + 1)}, b"", 413),
        ({"Content_Length": "9" * 18}, b"", 413),
        ({"Content_Length": "-1"}, b"", 411),
        ({"Content_Length": "1e3"}, b"", 411),
        ({"Transfer_Encoding": "chunked"}, b"5\r\nhello\r\n0\r\n\r\n", 411),
        ({"Content_Type": "text/plain"}, b"{}", 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, b"{}", 415),
        ({"Origin": ""}, b"{}", 403),
        ({}, b"not json", 400),
        ({}, b"[]", 400),
        ({}, b"{}", 400),
        ({}, b"[" * 100_000, 400),
        ({}, b"\xff\xfe", 400),
    ],
)
def test_bodies_that_no_page_of_ours_sends_are_refused(
    looking: Any, looked_at: Path, headers: dict[str, str], body: bytes, status: int
) -> None:
    assert looking.ask("POST", "/api/act", body, **headers)[0] == status
    assert not (looked_at / "decisions.json").exists()
    assert looking.get("state")["steps"] == []  # the server goes on


@pytest.mark.parametrize(
    "query",
    ["", "start=x&frames=1&pixels=1&channels=0", "start=0&frames=10&pixels=10&channels=99",
     "start=0&frames=10&pixels=10&channels=", "start=0&frames=10&pixels=10&channels=" + ",".join("0" * 300),
     "start=0&frames=10&pixels=10&channels=-1",
     "&".join(f"a{i}=1" for i in range(50))],
)  # fmt: skip
def test_questions_without_sense_are_answered_with_what_was_expected(looking: Any, query: str) -> None:
    status, _, body = looking.ask("GET", f"/api/traces?{query}")
    assert status == 400
    assert json.loads(body)["error"]


def test_a_page_with_hostile_names_runs_our_scripts_alone(
    copied: Path, served: Callable[..., Any], sorted_once: Path
) -> None:
    report = copied / "report.html"
    text = report.read_text(encoding="utf-8")
    report.write_text(text.replace("</h1>", "<script>document.title='run'</script></h1>", 1), encoding="utf-8")
    _, headers, body = served(copied).ask("GET", "/")
    policy = headers["content-security-policy"]
    scripts = re.search(r"script-src ([^;]*);", policy)
    assert scripts is not None
    assert "unsafe" not in scripts[1]
    page = body.decode()
    assert "document.title='run'" in page
    known = content_policy(page.replace("<script>document.title='run'</script>", ""), _known())
    assert policy == known  # its hash is not among those of the scripts that may run


def _known() -> list[str]:
    from spikelab.spike_sorting.report import scripts

    return list(scripts().values())


def test_hostile_labels_are_kept_as_text(client: Any, copied: Path) -> None:
    label = "</script><img src=x onerror=alert(1)>"
    after = client.act(do="mark", units=[client.get("state")["units"][0]["id"]], label=label)
    assert after["units"][0]["label"] == label
    status, headers, _ = client.ask("GET", "/api/state")
    assert (status, headers["content-type"]) == (200, "application/json")


def test_a_token_of_another_server_opens_nothing(copied: Path, served: Callable[..., Any], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(copied, other)
    first, second = served(copied), served(other)
    status = second.ask("GET", "/api/state", Cookie=f"spikelab-{first.port}={first.token}")[0]
    assert status == 403
    assert first.token != second.token


def test_the_guard_compares_whole_tokens() -> None:
    guard = Guard(80, "secret")
    guard.require_token({}, "secret")
    for given in ("", "secre", "secret2", "SECRET", None, "gehe\u00efm"):
        with pytest.raises(RefusedError):
            guard.require_token({}, given)
