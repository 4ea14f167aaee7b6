"""Serve one results folder until somebody ends it."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spikelab.spike_sorting.report import REPORT
from spikelab.spike_sorting.run.again import job_again, sort_again, state_to_apply, without_further_sorts
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.stages.store import is_read_only
from spikelab.spike_sorting.view.answers import Desk
from spikelab.spike_sorting.view.applying import Applying
from spikelab.spike_sorting.view.claim import claimed, require_no_sort, say_address
from spikelab.spike_sorting.view.page import is_current
from spikelab.spike_sorting.view.server import Server
from spikelab.spike_sorting.view.session import Session
from spikelab.spike_sorting.view.traces import TraceFile

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)

TRACES = "traces.dat"


@dataclass(frozen=True)
class Served:
    """A server that listens; :meth:`until_interrupted` answers."""

    address: str  # of the page, with the token
    server: Server
    read_only: bool


@contextmanager
def serve(results: str | Path, port: int = 0, recording: str | Path | None = None) -> Iterator[Served]:
    """Serve the report of a results folder on this machine alone; ``served.server.serve_forever()`` answers.

    Parameters
    ----------
    results : path
        Results folder of one recording, of a finished sort.
    port : int
        Port to listen on; 0 for any that is free.
    recording : path, optional
        Where the recording is now, should its traces have to be filtered again.

    Yields
    ------
    Served
        With the address, which holds a token that is new each time.

    Raises
    ------
    FileNotFoundError
        If `results` is no folder of a finished sort.
    ValueError
        If a sort is under way in it, or another server has it open.
    OSError
        If the port is in use.

    Examples
    --------
    >>> from spikelab.spike_sorting.view import serve
    >>> with serve("sorted_rt_sort_culture") as served:
    ...     served.address.startswith("http://127.0.0.1:")
    True
    """
    folder = Path(results).absolute()
    require_no_sort(folder)
    opened, given = Results.open(folder), None if recording is None else Path(recording).absolute()
    _require_page(opened, given)
    with ExitStack() as held:
        read_only = is_read_only(folder)
        own = None if read_only else held.enter_context(claimed(folder))
        session = Session(opened, read_only=read_only)
        session.current()  # a file of decisions that is damaged, or of another sort, is told before anything is served
        traces = TraceFile(opened, None if own is None else own / TRACES, given)
        desk = Desk(session, traces)
        applying = Applying(session, desk.reload, given)
        held.callback(applying.stop)
        server = held.enter_context(Server(port, lambda _: desk.answers(applying)))
        if own is not None:
            say_address(own, server.guard.address)
        yield Served(f"{server.guard.address}?token={server.guard.token}", server, read_only)


def _require_page(results: Results, recording: Path | None) -> None:
    """Write the report anew where it is missing, or is of another version; ValueError where that fails."""
    if is_current(results.folder):
        return
    if not is_read_only(results.folder):
        logger.info("the report in %s is of another version: it is written anew", results.folder)
        sort_again(without_further_sorts(job_again(results, recording), results, state_to_apply(results)))
    if not is_current(results.folder):
        raise ValueError(
            f"{results.folder / REPORT} is not of this version of spikelab, and cannot be written anew; move it away, "
            "and 'spikelab sort' writes another one"
        )
