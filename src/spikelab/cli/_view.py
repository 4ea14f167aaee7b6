"""``spikelab view``: serve the report of a results folder on this machine, until Ctrl-C."""

from __future__ import annotations

import threading
import webbrowser
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.view import Served


def view_results(results: Path, port: int, recording: Path | None, *, browser: bool) -> None:
    """Serve until somebody ends it; says where."""
    from spikelab.spike_sorting.view import serve

    with serve(results, port, recording) as served:
        click.echo(f"{results} is served at\n  {served.address}\nto this machine alone; Ctrl-C ends it")
        if served.read_only:
            click.echo("the folder cannot be written to: decisions are not kept")
        if browser:
            threading.Thread(target=_open, args=(served,), daemon=True).start()
        try:
            served.server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended; every decision is in decisions.json")


def view_in_gui(results: Path, gui: str, recording: Path | None) -> None:
    """Decide in another program, and apply what was decided there."""
    if gui != "spikeinterface":
        raise click.UsageError(f"Unknown --gui {gui!r}; there is spikeinterface")
    from spikelab.cli._progress import shown_progress
    from spikelab.spike_sorting.exchange.curate import applied
    from spikelab.spike_sorting.view.spikeinterface_gui import curate_in_gui

    plan = curate_in_gui(results, recording)
    if plan is None:
        click.echo("nothing was saved ('save in analyzer') in spikeinterface-gui: nothing is changed")
        return
    click.echo("\n".join(plan.lines()))
    with shown_progress():
        applied(plan, recording=recording)
    click.echo(f"applied; results are in {results}")


def _open(served: Served) -> None:
    if not webbrowser.open(served.address):
        click.echo("no browser could be opened: open the address in yours")
