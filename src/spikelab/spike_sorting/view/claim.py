"""One server per results folder: a second one is refused, and told the address of the first."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import ConcurrentSortError
from spikelab.spike_sorting.run.alive import NOTE, Note, is_alive
from spikelab.spike_sorting.run.lock import held_alone
from spikelab.system import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = ".spikelab-view"  # in the results folder while a server runs: lock, address, traces that are filtered again
ADDRESS = "address.txt"


class AlreadyServedError(ValueError):
    """Results folder that another server has open."""


def require_no_sort(results: Path) -> None:
    """Raise ValueError where a sort is under way in the results folder."""
    note = Note.read(results)
    if note is not None and is_alive(results, note.process):
        raise ValueError(
            f"a sort is under way in {results} (process {note.process.get('pid')} on {note.process.get('host')}); "
            "wait for its end: 'spikelab status' shows how far it is"
        )


@contextmanager
def claimed(results: Path) -> Iterator[Path]:
    """Hold a results folder for one server, and yield a folder of the server's own in it, deleted at the end."""
    own = results / FOLDER
    own.mkdir(exist_ok=True)
    try:
        with held_alone(own):
            for path in own.iterdir():  # what a server that was killed has left
                if path.name != NOTE and not path.name.startswith(".spikelab"):
                    files.remove(path)
            yield own
            for path in own.iterdir():
                if not path.name.startswith(".spikelab"):
                    files.remove(path)
    except ConcurrentSortError as error:
        raise AlreadyServedError(_where(results, own, error)) from error
    finally:
        with suppress(OSError):
            own.rmdir()  # the system refuses where another server is in it


def say_address(own: Path, address: str) -> None:
    """Leave the address, without the token, for a second server that is refused."""
    files.write_text(own / ADDRESS, address)


def _where(results: Path, own: Path, error: ConcurrentSortError) -> str:
    try:
        address = (own / ADDRESS).read_text(encoding="utf-8", errors="replace").strip()[:100]
    except OSError:
        address = ""
    at = f" at {address}" if address else ""
    return (
        f"{results} is open in another 'spikelab view'{at} (process {error.pid} on {error.host}): use that one, "
        "whose terminal shows the address with its token, or end it there with Ctrl-C"
    )
