"""The page that is served: the report as it lies in the folder, with the scripts that speak to the server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spikelab.spike_sorting.report import REPORT, scripts
from spikelab.spike_sorting.view.guard import content_policy

if TYPE_CHECKING:
    from pathlib import Path

LIVE = '<meta name="spikelab-live" content="yes">'
META_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
LINKED = (".png", ".csv", ".toml", ".json", ".log", ".out", ".txt", ".npz", ".pkl", ".mat")
IN_REPORT = ("table.js", "decide.js", "split.js")
MOST_FILES = 20_000


def live_page(results: Path) -> tuple[str, str]:
    """Read the report, and return it as a page of the server with its policy.

    The page's own policy, which forbids all connections, gives way to the server's: the known scripts alone run.
    """
    text = (results / REPORT).read_text(encoding="utf-8")
    known = scripts()
    head, body, rest = text.rpartition("</body>")
    text = f"{head}<script>\n{known['traces.js']}\n</script>\n{body}{rest}"
    text = META_POLICY.sub(LIVE, text, count=1)
    return text, content_policy(text, known.values())


def is_current(results: Path) -> bool:
    """Tell whether the report has the scripts of this version."""
    try:
        text = (results / REPORT).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    known = scripts()
    return all(known[name].strip() in text for name in IN_REPORT)


def linked_files(results: Path) -> dict[str, Path]:
    """List the files that a report may link to, by address: figures, tables, settings, record and log."""
    names = [path for path in results.iterdir() if path.is_file()]
    names += (results / "figures").rglob("*.png")
    found = {}
    for path in sorted(names)[:MOST_FILES]:
        inside = path.resolve().is_relative_to(results.resolve())  # no link leads out of the folder
        if path.suffix in LINKED and inside and not path.name.startswith("."):
            found["/" + path.relative_to(results).as_posix()] = path
    return found
