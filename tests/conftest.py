"""Fixtures that every test module may use."""

from __future__ import annotations

import logging
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parent))
from simulated import Simulated, save_recording, simulate

# Other processes may hold the machine up; a slow example is not a failure.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recordings in memory leave their folders where the process is, and tests run side by side."""
    folder = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real recordings beside the checkout; skips, visibly, where they are not there."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip(f"real recordings are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def simulated() -> Simulated:
    """Eight seconds of eight channels with five units; the same for all tests."""
    return simulate()


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a simulated recording as a SpikeInterface folder and returns its path."""

    def save(name: str = "culture", folder: Path | None = None, **kwargs: object) -> Path:
        return save_recording(simulate(**kwargs).recording, (folder or tmp_path) / name)  # type: ignore[arg-type]

    return save


@pytest.fixture
def run() -> Iterator[Callable[..., Result]]:
    """Call a command in this process; the terminal log it sets up is taken down again."""
    from spikelab.cli import cli

    logger = logging.getLogger("spikelab")
    show = warnings.showwarning
    before = logger.handlers, logger.level, logger.propagate
    signals = {name: signal.getsignal(name) for name in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))}
    with warnings.catch_warnings():
        yield lambda *arguments: CliRunner().invoke(cli, [str(argument) for argument in arguments])
    logger.handlers, logger.level, logger.propagate = before
    warnings.showwarning = show
    for name, handler in signals.items():
        signal.signal(name, handler)
