"""Apply the decisions: a child process runs the sort of the folder again, from where they change something.

In a process of its own, so that a sort that fails, or needs much memory, leaves the server and what it knows alone.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from spikelab.spike_sorting.view.session import Session
    from spikelab.system.progress import Progress

logger = logging.getLogger(__name__)

APPLYING = "The decisions are being applied: wait for the end, or stop it."
LAST_LINES = 20  # of what a child that failed has said
ENDS_WITHIN_S = 10.0  # after it was asked to
STOPPED = "it was stopped"


@dataclass
class Applying:
    """The run that applies the decisions, and how far it is."""

    session: Session
    reload: Callable[[], None]  # after a run that ended well
    recording_input: Path | None = None
    _state: dict[str, Any] = field(default_factory=lambda: {"status": "idle"})
    _child: subprocess.Popen[str] | None = None
    _thread: threading.Thread | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)  # set while the run has no child yet, too
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def progress(self, _: object = None) -> dict[str, Any]:
        """Tell how far the run is: idle, running with words, done, or failed with the error."""
        return dict(self._state)

    def start(self, values: dict[str, Any]) -> dict[str, Any]:
        """Start the run, if the decisions are still those of the revision; a second one is not started."""
        with self._lock:
            if self._state["status"] != "running":
                self.session.hold(values["revision"], APPLYING)
                self._state = {"status": "running", "words": "starting"}
                self._stopping.clear()
                self._thread = threading.Thread(target=self._run, name="apply", daemon=True)
                self._thread.start()
        return self.progress()

    def stop(self, _: object = None) -> dict[str, Any]:
        """End the run, if there is one; the results are as they were, or as far as the run came."""
        with self._lock:
            self._stopping.set()
            child, thread = self._child, self._thread
        if child is not None:
            _end(child)
        if thread is not None:
            thread.join(ENDS_WITHIN_S)
        return self.progress()

    def _run(self) -> None:
        try:
            outcome = self._outcome()
        except Exception as error:
            logger.exception("the decisions could not be applied")
            outcome = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        with self._lock:  # the next run starts when all of this one is over
            self._child = None
            self.session.release()
            self._state = outcome

    def _outcome(self) -> dict[str, Any]:
        """Run the child to its end, and reload the results."""
        given = [] if self.recording_input is None else [str(self.recording_input)]
        command = [sys.executable, "-m", __name__, str(self.session.results.folder), *given]
        if self._stopping.is_set():
            return {"status": "failed", "error": STOPPED}
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding="utf-8", errors="replace",
        ) as child:  # fmt: skip
            with self._lock:
                self._child = child
            if self._stopping.is_set():
                _end(child)
            assert child.stdout is not None
            last = self._followed(child.stdout)
        if child.returncode != 0:
            stopped = STOPPED if child.returncode < 0 else f"exit code {child.returncode}"
            return {"status": "failed", "error": "\n".join(last) or stopped}
        self.reload()
        return {"status": "done"}

    def _followed(self, lines: Iterable[str]) -> list[str]:
        """Note how far the child is; return its error, or else the last lines that it wrote."""
        last: list[str] = []
        for line in lines:
            said = _said(line)
            if said is None:
                last = [*last, line.rstrip()][-LAST_LINES:]
            elif "error" in said:
                last = [str(said["error"])]
            else:
                self._state = {"status": "running", **said}
        return last


def _end(child: subprocess.Popen[str]) -> None:
    """Ask a child to end, and kill it where it does not."""
    child.terminate()
    with suppress(subprocess.TimeoutExpired):
        child.wait(ENDS_WITHIN_S)
    child.kill()


def _said(line: str) -> dict[str, Any] | None:
    """Read a line of :func:`main`; None for another one."""
    if not line.startswith('{"spikelab":'):
        return None
    try:
        said = json.loads(line)["spikelab"]
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def main(folder: str, recording: str | None = None) -> int:
    """Run the sort of a folder again, and write on stdout how far it is; returns the exit code."""
    from spikelab.spike_sorting.data.outcomes import words_of
    from spikelab.spike_sorting.exchange import curate_results
    from spikelab.system.progress import watched

    def say(**values: Any) -> None:
        sys.stdout.write(json.dumps({"spikelab": values}) + "\n")
        sys.stdout.flush()

    def watch(work: Progress) -> None:
        say(words=f"{work.label}: {work.words()}", share=work.whole.share)

    logging.getLogger("spikelab").addHandler(logging.StreamHandler(sys.stdout))
    try:
        with watched(watch):
            curate_results(folder, recording=recording)
    except Exception as error:  # noqa: BLE001 - told to the page
        say(error=words_of(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
