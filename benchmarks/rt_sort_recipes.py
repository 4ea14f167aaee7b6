"""What the recordings for the sorters are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPORTING_SEEDS = (1, 2, 3)
TUNING_SEEDS = (101, 102, 103)


@dataclass(frozen=True)
class Recipe:
    """What a recording is made of.

    Attributes
    ----------
    name : str
    columns, rows, pitch_um : int, int, (float, float)
        Contacts.
    fs, seconds, units : float, float, int
    probe : str
        The preset that fits: "mea" or "neuropixels".
    rates_hz : (float, float)
        Firing rates are log-uniform.
    snr : (float, float) or None
        Peaks after the filter over ``noise_uv``, log-uniform. None: SpikeInterface's generated ground truth as it is,
        with white noise of ``noise_uv``, and nothing of what follows.
    noise_uv : float
        Noise, after the filter where `snr` is given.
    coloured : float
        Share of the noise's power that falls with frequency (amplitude as 1/f^0.5) and is alike on near contacts.
    common : float
        Share of the noise's power that is the same on all contacts.
    axons, bursting : float
        Share of the units.
    network_hz : float
        Network bursts.
    drift_um : float
        From one end of the way to the other.
    take : int
        Another one has the same neurons, and other rates, spikes and noise.
    """

    name: str
    columns: int
    rows: int
    units: int
    seconds: float
    fs: float = 20_000.0
    pitch_um: tuple[float, float] = (17.5, 17.5)
    probe: str = "mea"
    rates_hz: tuple[float, float] = (1.0, 12.0)
    snr: tuple[float, float] | None = (4.0, 27.0)
    noise_uv: float = 8.0
    coloured: float = 0.5
    common: float = 0.0
    axons: float = 0.5
    bursting: float = 1 / 3
    network_hz: float = 0.15
    drift_um: float = 0.0
    take: int = 0

    @property
    def frames(self) -> int:
        """Length in frames."""
        return round(self.seconds * self.fs)

    @property
    def contacts(self) -> NDArray[np.float64]:
        """Positions in micrometres, (channels, 2)."""
        x, y = np.meshgrid(np.arange(self.columns) * self.pitch_um[0], np.arange(self.rows) * self.pitch_um[1])
        return np.column_stack([x.ravel(), y.ravel()])

    @property
    def warm_up(self) -> Recipe:
        """Give a small recording of the same kind."""
        return replace(self, name=f"{self.name}_warm_up", seconds=10.0, units=max(5, self.units // 5), rates_hz=(5, 10))


COLUMN: dict[str, Any] = {"columns": 2, "pitch_um": (32.0, 20.0), "fs": 30_000.0, "probe": "neuropixels"}
PLAIN: dict[str, Any] = {"coloured": 0.0, "axons": 0.0, "bursting": 0.0, "network_hz": 0.0}
HARD = Recipe("hard", 12, 12, units=40, seconds=90, drift_um=12.0)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("grid", 8, 8, units=25, seconds=120, snr=None, **PLAIN),
        Recipe("column", rows=16, units=10, seconds=60, snr=None, **PLAIN, **COLUMN),
        HARD,
        replace(HARD, name="hard_static", drift_um=0.0),
        Recipe("drift_column", rows=24, units=20, seconds=90, drift_um=15.0, **COLUMN),
        Recipe("sparse", 8, 8, units=8, seconds=120, rates_hz=(0.3, 3.0)),
        Recipe("dense", 8, 8, units=45, seconds=90),
        Recipe("plain_bursting", 8, 8, units=20, seconds=90, **PLAIN | {"bursting": 1.0}),
        Recipe("axonal", 12, 12, units=25, seconds=60, axons=1.0, bursting=0.0, snr=(8.0, 50.0)),
        Recipe("faint", 8, 8, units=25, seconds=90, snr=(3.0, 10.0)),
        Recipe("coarse", 8, 8, units=25, seconds=90, pitch_um=(35.0, 35.0)),
        Recipe("common_noise", 8, 8, units=25, seconds=90, pitch_um=(35.0, 35.0), common=0.7),
        Recipe("synchronous", 8, 8, units=25, seconds=90, network_hz=1.0),
        Recipe("wide", 32, 32, units=150, seconds=20),
    )
}

STREAMS = {
    recipe.columns * recipe.rows: recipe
    for recipe in (
        Recipe("stream_64", 8, 8, units=25, seconds=30),
        Recipe("stream_256", 16, 16, units=60, seconds=30),
        Recipe("stream_1000", 40, 25, units=150, seconds=30),
    )
}
