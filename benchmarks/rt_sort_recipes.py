"""What the recordings for the sorters are made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REPORTING_SEEDS = (1, 2, 3)
TUNING_SEEDS = (101, 102, 103)


@dataclass(frozen=True)
class Movement:
    """How tissue and neurons change.

    Attributes
    ----------
    kind : str
        "wander": a ramp with two slow waves; "ramp"; "step": half-way, within 0.2 s; "breathe": a wave of 0.2 Hz.
    non_rigid : float
        Units at the last row go less far by this share.
    growth : float
        From the start to the end amplitudes become this many times as large, or as small, with equal odds.
    """

    kind: str = "wander"
    non_rigid: float = 0.0
    growth: float = 1.0


@dataclass(frozen=True)
class Crowd:
    """Units that are not like the others. Shares of the units, but for `clusters`, `small` and `axon`.

    Attributes
    ----------
    large : float
        With an SNR of 20 to 60.
    positive : float
        Whose largest peak is positive.
    appear, vanish : float
        From, or until, about half-way.
    clusters : int
        Units lie in so many places, 40 um wide; 0: anywhere.
    small : int
        Further units with an SNR of 1 to 3, which no sorter is asked for.
    axon : (float, float)
        Amplitude of axons, least and most, relative to the soma's.
    """

    large: float = 0.0
    positive: float = 0.0
    appear: float = 0.0
    vanish: float = 0.0
    clusters: int = 0
    small: int = 0
    axon: tuple[float, float] = (0.08, 0.25)


@dataclass(frozen=True)
class Network:
    """A network burst: which share of the units takes part, with how many spikes (least, most), how far apart."""

    share: float = 0.6
    spikes: tuple[int, int] = (1, 3)
    width_ms: float = 25.0


@dataclass(frozen=True)
class Amplifier:
    """What lies between the tissue and the file.

    Attributes
    ----------
    hum_uv : float
        Amplitude of the mains, which has harmonics.
    pulses : int
        Stimulation pulses, each of which puts contacts on the rail for 3 ms.
    pulsed : int
        Contacts that a pulse puts there, of the first row; 0 for all.
    gain_uv : float
        Of a count.
    middle, low, high : int
        Counts at 0 uV and on the rails.
    dtype : str
    """

    hum_uv: float = 0.0
    pulses: int = 0
    pulsed: int = 0
    gain_uv: float = 0.195
    middle: int = 0
    low: int = -32_768
    high: int = 32_767
    dtype: str = "int16"

    @property
    def rails_uv(self) -> tuple[float, float]:
        """Largest negative and positive voltage."""
        return (self.low - self.middle) * self.gain_uv, (self.high - self.middle) * self.gain_uv


@dataclass(frozen=True)
class Converter:
    """What a probe with its own amplifiers and converters adds.

    Attributes
    ----------
    stripes_uv : float
        Standard deviation, after the filter, of what is common to all contacts: stripes in a picture of the traces.
    in_turn : bool
        Channels are sampled one after the other, as those of Neuropixels 1.0, and the file says when.
    """

    stripes_uv: float = 0.0
    in_turn: bool = False


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
    movement, crowd, network, amplifier, converter : Movement, Crowd, Network, Amplifier, Converter
        Of these only the amplifier is for SpikeInterface's generated ground truth too.
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
    movement: Movement = Movement()
    crowd: Crowd = Crowd()
    network: Network = Network()
    amplifier: Amplifier = Amplifier()
    converter: Converter = Converter()

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
        return replace(
            self,
            name=f"{self.name}_warm_up",
            seconds=10.0,
            units=max(5, self.units // 5),
            rates_hz=(5, 10),
            crowd=replace(self.crowd, small=self.crowd.small // 5),
            amplifier=replace(self.amplifier, pulses=min(self.amplifier.pulses, 3)),
        )

    def key(self) -> dict[str, Any]:
        """Everything, without the parts that are as always."""
        parts = ("movement", "crowd", "network", "amplifier", "converter")
        usual = {part for part in parts if getattr(self, part) == type(getattr(self, part))()}
        return {name: value for name, value in asdict(self).items() if name not in usual}


COLUMN: dict[str, Any] = {"columns": 2, "pitch_um": (32.0, 20.0), "fs": 30_000.0, "probe": "neuropixels"}
PLAIN: dict[str, Any] = {"coloured": 0.0, "axons": 0.0, "bursting": 0.0, "network_hz": 0.0}
LONG_COLUMN = COLUMN | {"columns": 2, "rows": 32, "pitch_um": (32.0, 15.0), "units": 20}
HARD = Recipe("hard", 12, 12, units=40, seconds=90, drift_um=12.0)
HARD_STATIC = replace(HARD, name="hard_static", drift_um=0.0)

EASY = (
    Recipe("grid", 8, 8, units=25, seconds=120, snr=None, **PLAIN),
    Recipe("column", rows=16, units=10, seconds=60, snr=None, **PLAIN, **COLUMN),
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

ACTIVITY = (
    # An organoid or a slice of which little fires, recorded for long on a patch of a high-density array.
    Recipe("quiet", 8, 8, units=25, seconds=900, rates_hz=(0.05, 0.5), snr=None, **PLAIN),
    Recipe("quiet_hour", 8, 8, units=25, seconds=3600, rates_hz=(0.02, 0.5), snr=None, **PLAIN),
    # The short scans with which the electrodes of a high-density array are chosen: everything, and few spikes of each.
    Recipe("xl", 25, 40, units=200, seconds=20, snr=None, **PLAIN),
    # A mature culture on a high-density array, with neurons that sit on their electrode beside small ones.
    replace(HARD_STATIC, name="hard2", seconds=120, snr=(4.0, 45.0)),
    # The same where the array sees axons as it sees somata: their initial segments are often the largest of all, so
    # that what is the main electrode of a spike, and when its trough, may change from one spike to the next.
    replace(HARD_STATIC, name="hard3", seconds=120, snr=(4.0, 45.0), crowd=Crowd(axon=(0.3, 1.2))),
    # The same where nothing is between: neurons right on an electrode, and their small neighbours.
    Recipe("large_small", 8, 8, units=20, seconds=90, snr=(4.0, 8.0), crowd=Crowd(large=0.4)),
    # Spikes of axons and dendrites, and of somata that lie on the far side of the array: the positive peak is largest.
    Recipe("positive", 8, 8, units=20, seconds=90, snr=(6.0, 27.0), crowd=Crowd(positive=0.4)),
    # A drug is washed in, or a slice dies: neurons start and stop.
    Recipe("come_and_go", 8, 8, units=20, seconds=120, crowd=Crowd(appear=0.3, vanish=0.3)),
    # A disinhibited culture on all electrodes of a MaxOne: bursts in which within each millisecond a tenth of the
    # neurons fires.
    Recipe(
        "bursts1000", 25, 40, units=200, seconds=60, network_hz=0.2, network=Network(0.8, (3, 7), 16.0), bursting=0.0
    ),
    # A mature culture or an organoid on a MaxOne whose electrodes were chosen around neurons, as the chip's file is.
    Recipe(
        "maxone",
        25,
        40,
        units=100,
        seconds=60,
        snr=(4.0, 40.0),
        crowd=Crowd(clusters=17, small=100),
        amplifier=Amplifier(gain_uv=6.29, middle=512, low=0, high=1023, dtype="uint16"),
    ),
)

DRIFT = Recipe("drift0", seconds=90, movement=Movement("ramp"), **LONG_COLUMN)
NP = Recipe(
    "np",
    rows=192,
    units=150,
    seconds=60,
    drift_um=20.0,
    crowd=Crowd(small=400),
    movement=Movement("wander", non_rigid=0.5),
    **COLUMN,
)
MOVING = (
    HARD,
    HARD_STATIC,
    Recipe("drift_column", rows=24, units=20, seconds=90, drift_um=15.0, **COLUMN),
    # An acute recording with a Neuropixels probe: the tissue settles along the probe ...
    DRIFT,
    replace(DRIFT, name="drift15", drift_um=15.0),
    replace(DRIFT, name="drift40", drift_um=40.0),
    # ... jumps when the animal does, ...
    replace(DRIFT, name="drift_step", drift_um=15.0, movement=Movement("step")),
    # ... and moves more at the surface than in the depth.
    replace(DRIFT, name="drift_nonrigid", drift_um=30.0, movement=Movement("ramp", non_rigid=0.8)),
    # A session of ten minutes: the tissue moves, neurons come closer, appear and are lost.
    replace(
        DRIFT,
        name="drift_long",
        seconds=600,
        fs=20_000.0,
        drift_um=30.0,
        movement=Movement("wander", growth=2.0),
        crowd=Crowd(appear=0.05, vanish=0.05),
    ),
    # A Neuropixels 1.0 probe in a behaving animal, with the many cells that are too far to be told apart; and a part.
    NP,
    replace(NP, name="np_part", rows=48, units=40, crowd=Crowd(small=100)),
)

# The same neurons as in `drift0`, on tissue that moves by so many micrometres in each of three ways.
COURSES = tuple(
    replace(DRIFT, name=f"{kind}{microns}", drift_um=float(microns), movement=Movement(kind))
    for kind in ("ramp", "step", "breathe")
    for microns in (20, 40, 60)
)

STIM = Recipe("stim", 8, 8, units=25, seconds=120, snr=None, amplifier=Amplifier(hum_uv=15.0, pulses=30), **PLAIN)
SHARED = Recipe("shared0", 6, 6, units=15, seconds=90, pitch_um=(40.0, 40.0), coloured=0.0)
DISTURBED = (
    # A stimulated culture: pulses that saturate the amplifiers of all electrodes, which take long to recover.
    STIM,
    replace(STIM, name="stim_none", amplifier=Amplifier(hum_uv=15.0)),
    # Pulses that saturate the amplifiers beside the stimulated electrode alone.
    replace(STIM, name="stim_few", amplifier=Amplifier(hum_uv=15.0, pulses=30, pulsed=4)),
    # The same on a mature culture; without the pulses it is `hard_static`.
    replace(HARD_STATIC, name="stim_hard", amplifier=Amplifier(pulses=30)),
    # A noisy reference electrode, or none: the same on all contacts.
    SHARED,
    *(replace(SHARED, name=f"shared{percent}", common=percent / 100) for percent in (30, 50, 70)),
    # And the mains, where earth and shield are wanting.
    replace(SHARED, name="hum", common=0.3, amplifier=Amplifier(hum_uv=25.0)),
)

# A part of a Neuropixels 1.0 probe in tissue that lies still, as recorded by one perfect converter for each channel ...
PROBE = Recipe("probe", rows=48, units=40, seconds=40, crowd=Crowd(small=100), **COLUMN)
PROBES = (
    PROBE,
    # ... by the probe's own converters, and with stripes.
    replace(PROBE, name="probe_in_turn", converter=Converter(in_turn=True)),
    replace(PROBE, name="probe_stripes", converter=Converter(stripes_uv=16.0, in_turn=True)),
)

RECIPES = {recipe.name: recipe for recipe in (*EASY, *ACTIVITY, *MOVING, *COURSES, *DISTURBED, *PROBES)}

STREAMS = {
    recipe.columns * recipe.rows: recipe
    for recipe in (
        Recipe("stream_64", 8, 8, units=25, seconds=30),
        Recipe("stream_256", 16, 16, units=60, seconds=30),
        Recipe("stream_1000", 40, 25, units=150, seconds=30),
    )
}
