"""The sorter that :func:`detect_sequences` makes: offline, as a stream, and on disk."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import ModelLoadingError
from spikelab.spike_sorting.data.spike_trains import MOVED_UM, SIZE_RATIO, SORTER_SIGNIFICANCE
from spikelab.spike_sorting.filters.stream import FilterStream, StreamBandPass
from spikelab.spike_sorting.rt_sort.artefacts import Silencer, levels_of, silenced
from spikelab.spike_sorting.rt_sort.channels import on_channels
from spikelab.spike_sorting.rt_sort.detection._torch_file import DAMAGE
from spikelab.spike_sorting.rt_sort.learning.waveforms import match
from spikelab.spike_sorting.rt_sort.matching.moving import MovingBank, MovingMatcher, Versions
from spikelab.spike_sorting.rt_sort.matching.peeling import Matcher
from spikelab.spike_sorting.rt_sort.matching.templates import TemplateBank, window_frames
from spikelab.spike_sorting.rt_sort.movement import Movement
from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters
from spikelab.spike_sorting.rt_sort.sequences import Sequences
from spikelab.spike_sorting.rt_sort.traces import READ_VALUES, Traces
from spikelab.spike_sorting.rt_sort.whitening import Noise
from spikelab.system import files
from spikelab.system.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from spikeinterface import BaseSorting

    from spikelab.spike_sorting.data import FloatArray
    from spikelab.spike_sorting.rt_sort.sequences import Tolerances, Waveform

    Spikes = NDArray[np.void]

FORMAT = 3
FORMATS = (2, FORMAT)  # 2: without movement and significance
ARRAYS, SETTINGS = "sequences.npz", "rt_sort.json"
RATE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class RTSort:
    """Sequences of one electrode array, ready to sort recordings of it.

    Attributes
    ----------
    sampling_frequency : float
        In Hz.
    channel_ids : tuple of str
    locations : numpy.ndarray, shape (channels, 2)
        In um.
    noise : Noise
    sequences : Sequences
        One per unit; unit ids are their indices.
    parameters : SequenceParameters
    movement : Movement or None
        How the units moved in the recording that they were found in; None where that is not known.

    Examples
    --------
    >>> from spikelab.spike_sorting.rt_sort import RTSort
    >>> rt_sort = RTSort.load("sorted_rt_sort_culture/stages/sorting/rt_sort")
    >>> rt_sort.sampling_frequency, len(rt_sort.channel_ids)
    (20000.0, 16)
    """

    sampling_frequency: float
    channel_ids: tuple[str, ...]
    locations: NDArray[np.float64] = field(repr=False)
    noise: Noise = field(repr=False)
    sequences: Sequences
    parameters: SequenceParameters = field(repr=False)
    movement: Movement | None = field(default=None, repr=False)

    @property
    def n_sequences(self) -> int:
        """Number of sequences (units)."""
        return self.sequences.n_sequences

    def subset(self, chosen: NDArray[np.bool_]) -> RTSort:
        """Select sequences by `chosen`, shape (sequences,)."""
        movement = None if self.movement is None else self.movement.subset(chosen)
        return replace(self, sequences=self.sequences.subset(chosen), movement=movement)

    def bank(self, frame: int | None = None) -> TemplateBank:
        """Build templates and filters of the sequences.

        Parameters
        ----------
        frame : int, optional
            Of the recording that they were found in. None: its end.
        """
        moving = self.moving_bank()
        return moving.bank(len(moving.borders) if frame is None else moving.stretch(frame))

    def moving_bank(self) -> MovingBank:
        """Prepare templates and filters of the sequences, by frames of the recording that they were found in."""
        still = [
            (channels[:n], waveform[:n])
            for channels, n, waveform in zip(
                self.sequences.channels, self.sequences.n_channels, self.sequences.waveforms, strict=True
            )
        ]
        versions = Versions.of(still) if self.movement is None else self.movement.versions(still)
        return MovingBank(versions, self.noise, self.sampling_frequency, self.parameters, self._tolerances_of)

    def _tolerances_of(self, waveforms: list[Waveform]) -> Tolerances | None:
        n_before = window_frames(self.sampling_frequency)[0]
        return self.sequences.at_time(waveforms, n_before, self.noise.sigma).tolerances(self.parameters)

    @property
    def moved_um(self) -> NDArray[np.float64]:
        """How far each unit went in the recording that it was found in, in um."""
        n = self.n_sequences
        return np.zeros(n) if self.movement is None else self.movement.distances_um(self.locations, n)

    @property
    def size_ratio(self) -> NDArray[np.float64]:
        """Largest peak of each unit in the recording that it was found in over its smallest at another time."""
        return np.ones(self.n_sequences) if self.movement is None else self.movement.size_ratios(self.n_sequences)

    def sort_offline(
        self,
        recording: Any,
        *,
        recording_window_ms: tuple[float, float] | None = None,
        n_jobs: int = 1,
        verbose: bool = False,
        chunk_values: int | None = None,
        follow: bool | None = None,
    ) -> BaseSorting:
        """Find the spikes of the sequences in a recording of the same array.

        Channels that were left out of one of the recordings as bad, fewer than half, are silent or left out here.

        Parameters
        ----------
        recording : BaseRecording or BinaryRecording
            Band-passed like the recording that the sequences were found in.
        recording_window_ms : (float, float), optional
            Part to sort; times stay those of the recording.
        n_jobs : int
            Threads; the result does not depend on them.
        verbose : bool
            Show progress.
        chunk_values : int, optional
            As for :func:`detect_sequences`: an eighth of the values of the traces that are read at a time.
        follow : bool, optional
            Whether units that moved are looked for where they were in the recording that they were found in at the same
            frame, or where they were at its end. None: where `recording` is that recording, by its traces.

        Returns
        -------
        sorting : BaseSorting
            Every sequence is a unit, also one without spikes; times are those of the peak on the root electrode. Where
            units moved in this recording, the properties ``moved_um`` and ``size_ratio`` say how far. Where `recording`
            is the one that they were found in, ``sorter_significance`` says how surely each is more than noise.

        Raises
        ------
        ValueError
            If the recording is of another array or another sampling rate.
        """
        from spikeinterface.core import NumpySorting

        traces = on_channels(Traces.of(recording, recording_window_ms), self.channel_ids, self.locations)
        self.check(traces)
        read = READ_VALUES if chunk_values is None else 8 * chunk_values
        is_own = self.movement is not None and self.movement.is_of(traces, self.noise.sigma)
        follow = self._follows(traces, is_own if follow is None else follow)
        spikes = self.spikes(traces, n_jobs=n_jobs, verbose=verbose, read_values=read, follow=follow)
        frames = spikes["frame"] + traces.start
        trains = {unit: np.sort(frames[spikes["template"] == unit]) for unit in range(self.n_sequences)}
        sorting = NumpySorting.from_unit_dict(trains, self.sampling_frequency)
        if follow and trains:
            sorting.set_property(MOVED_UM, self.moved_um)
            sorting.set_property(SIZE_RATIO, self.size_ratio)
        if is_own and np.isfinite(self.sequences.significance).any():
            sorting.set_property(SORTER_SIGNIFICANCE, self.sequences.significance)
        return sorting

    def spikes(
        self, traces: Traces, *, n_jobs: int = 1, verbose: bool = False, read_values: int = READ_VALUES,
        follow: bool | None = None,
    ) -> Spikes:  # fmt: skip
        """Find the spikes as an array of `peeling.SPIKE`, in the order of frames of `traces`."""
        self.check(traces)
        traces = silenced(traces, self.noise)
        with Progress("RT-Sort: assigning spikes", traces.duration_s, "s") if verbose else nullcontext() as progress:
            done = None if progress is None else progress.update
            bank = self.moving_bank() if self._follows(traces, follow) else self.bank()
            return match(traces, bank, traces.pieces(), n_jobs, read_values, done, traces.start)

    def _follows(self, traces: Traces, follow: bool | None) -> bool:
        """Decide whether units are where they were at the same frame; not where none moved."""
        if self.movement is None or len(self.movement.units) == 0:
            return False
        return self.movement.is_of(traces, self.noise.sigma) if follow is None else follow

    def check(self, traces: Traces) -> None:
        """Raise ValueError where `traces` are not of the array that the sequences were found on."""
        if traces.n_channels != len(self.channel_ids):
            raise ValueError(
                f"The sequences were found on {len(self.channel_ids)} channels, the recording has {traces.n_channels}: "
                "a saved RTSort sorts recordings of the same array, with the same channels"
            )
        if abs(traces.sampling_frequency / self.sampling_frequency - 1) > RATE_TOLERANCE:
            raise ValueError(
                f"The sequences were found at {self.sampling_frequency:g} Hz, the recording has "
                f"{traces.sampling_frequency:g} Hz: detect sequences again at this rate"
            )
        if not np.allclose(traces.locations, self.locations, atol=1.0):
            raise ValueError(
                "The electrodes of the recording are elsewhere than those that the sequences were found on: "
                "a saved RTSort sorts recordings of the same electrodes, in the same order"
            )

    def stream(
        self, n_jobs: int = 1, *, band_pass: StreamBandPass | None = None, from_frame: int | None = None
    ) -> RTSortStream:
        """Make a sorter for frames that arrive while the recording runs.

        Parameters
        ----------
        n_jobs : int
            Threads.
        band_pass : StreamBandPass, optional
            Filter for frames that come straight from the amplifier. None: frames are filtered already, like the
            recording that the sequences were found in.
        from_frame : int, optional
            The stream is that recording once more, from this frame on: units that moved are looked for where they were.
            None: where they were at its end, which is where they are now if the stream follows it. The stream begins
            there again after :meth:`RTSortStream.finish` and, unless that is told otherwise, ``reset``.
        """
        return RTSortStream(self, n_jobs, band_pass=band_pass, from_frame=from_frame)

    def save(self, folder: str | Path) -> Path:
        """Write ``sequences.npz`` and ``rt_sort.json`` into `folder`, which is made where it is missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "locations": self.locations, "noise_sigma": self.noise.sigma, "noise_correlation": self.noise.correlation,
            "noise_in_time": self.noise.autocorrelation,
            **{f"sequence_{name}": value for name, value in asdict(self.sequences).items()},
            **({} if self.movement is None else {f"movement_{n}": value for n, value in asdict(self.movement).items()}),
        }  # fmt: skip
        with files.replacing(folder / ARRAYS) as temporary:
            np.savez_compressed(temporary, **arrays)
        settings = {
            "format": FORMAT,
            "sampling_frequency": self.sampling_frequency,
            "channel_ids": list(self.channel_ids),
            "n_sequences": self.n_sequences,
            "parameters": asdict(self.parameters),
        }
        files.write_text(folder / SETTINGS, json.dumps(settings, indent=2))
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> RTSort:
        """Read a folder that :meth:`save` has written.

        Raises
        ------
        ModelLoadingError
            A file is missing or damaged.
        """
        folder = Path(folder)
        try:
            settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            if settings["format"] not in FORMATS:
                raise ValueError(f"format {settings['format']}, expected {FORMAT}")
            with (folder / ARRAYS).open("rb") as file, np.load(file) as data:
                arrays = dict(data)
            sequences, movement = (
                {name.removeprefix(kind): value for name, value in arrays.items() if name.startswith(kind)}
                for kind in ("sequence_", "movement_")
            )
            return cls(
                float(settings["sampling_frequency"]),
                tuple(settings["channel_ids"]),
                arrays["locations"],
                Noise(arrays["noise_sigma"], arrays["noise_correlation"], arrays["noise_in_time"]),
                Sequences(**({"significance": np.full_like(sequences["root_std"], np.nan)} | sequences)),
                SequenceParameters(**settings["parameters"]),
                Movement(**movement) if movement else None,
            )
        except FileNotFoundError as error:
            raise ModelLoadingError(
                f"{folder} is no saved RTSort: {error.filename} is missing. Expected {SETTINGS} and {ARRAYS}, which "
                "RTSort.save(folder) writes; the sorter's output folder of an earlier sort holds them in rt_sort/.",
                model_path=folder,
            ) from error
        except DAMAGE as error:
            raise ModelLoadingError(
                f"The RTSort in {folder} cannot be read ({type(error).__name__}: {error}): its files are damaged or of "
                "another version. Detect the sequences again.",
                model_path=folder,
            ) from error


class RTSortStream:
    """Sorts frames in pieces of any size as they arrive, with a bounded delay.

    Of the filtered frames that :meth:`RTSort.sort_offline` reads, the spikes are the same.

    Parameters
    ----------
    rt_sort : RTSort
    n_jobs : int
        Threads.
    band_pass : StreamBandPass, optional
    from_frame : int, optional
        As for :meth:`RTSort.stream`.

    Attributes
    ----------
    n_frames : int
        Frames taken since the start or the last :meth:`reset`.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.rt_sort import RTSort
    >>> stream = RTSort.load("sorted_rt_sort_culture/stages/sorting/rt_sort").stream()
    >>> spikes = stream.push(np.zeros((200, 16), dtype=np.float32))  # microvolts, as frames arrive
    >>> len(spikes), stream.n_frames
    (0, 200)
    """

    def __init__(
        self, rt_sort: RTSort, n_jobs: int = 1, *, band_pass: StreamBandPass | None = None,
        from_frame: int | None = None,
    ) -> None:  # fmt: skip
        self._matcher: Matcher | MovingMatcher
        self._from_frame = from_frame
        if from_frame is None:
            self._matcher = Matcher(rt_sort.bank(), n_jobs)
        else:
            self._matcher = MovingMatcher(rt_sort.moving_bank(), n_jobs, from_frame)
        self._fs = rt_sort.sampling_frequency
        self._n_channels = len(rt_sort.channel_ids)
        self._silencer = Silencer(levels_of(rt_sort.noise, rt_sort.locations), self._fs)
        self._filter = None if band_pass is None else FilterStream(band_pass, self._fs, self._n_channels)
        self.n_frames = 0

    @property
    def latency_ms(self) -> float:
        """Time after its peak by which a spike has been returned, in ms, computing time excluded."""
        delay = 0 if self._filter is None else self._filter.delay
        return 1000 * (max(self._matcher.latency_frames, self._silencer.lead) + delay) / self._fs

    def push(self, frames: NDArray[Any]) -> Spikes:
        """Take the next frames; return the spikes that are decided by now.

        Parameters
        ----------
        frames : numpy.ndarray, shape (frames, channels)
            Any number of frames: band-passed and in microvolts, or, where the stream has a filter, unfiltered numbers
            of any type.

        Returns
        -------
        spikes : numpy.ndarray
            With the fields frame (since the start or the last reset), template (the unit), scale (size relative to
            the unit's template), shift (of the peak from `frame`, in frames) and energy.

        Raises
        ------
        ValueError
            For another number of channels, or values that are not finite.
        """
        traces = np.array(frames, dtype=np.float32, order="C")  # a copy: the caller may use its buffer again
        if traces.ndim != 2 or traces.shape[1] != self._n_channels:
            raise ValueError(f"Expected frames of shape (n, {self._n_channels}), got {traces.shape}")
        if not np.isfinite(traces).all():
            raise ValueError("The frames hold values that are not finite; after a gap in the data call reset()")
        self.n_frames += len(traces)
        return self._match(traces if self._filter is None else self._filter.push(traces))

    def _match(self, filtered: FloatArray) -> Spikes:
        return self._silencer.clear(self._matcher.push(self._silencer.push(filtered)))

    def finish(self) -> Spikes:
        """End the recording and return the last spikes. The next frame is frame 0, where the stream began."""
        spikes = [] if self._filter is None else [self._match(self._filter.finish())]
        spikes.append(self._silencer.clear(self._matcher.finish(), finished=True))
        self.reset()
        return np.concatenate(spikes)

    def reset(self, from_frame: int | None = None) -> None:
        """Forget all frames, as after a gap in the data. The next frame is frame 0.

        Parameters
        ----------
        from_frame : int, optional
            Of a stream that follows its recording (:meth:`RTSort.stream`): which frame of that recording comes next.
            None: the one at which the stream began. After a gap give it, or units are looked for where they were then.

        Raises
        ------
        ValueError
            If the stream does not follow its recording.
        """
        if self._from_frame is None and from_frame is not None:
            raise ValueError(
                f"from_frame is {from_frame}, but this stream looks for units where they were last: make one with "
                "stream(from_frame=...) to follow the recording that they were found in"
            )
        self._from_frame = self._from_frame if from_frame is None else from_frame
        self.n_frames = 0
        if isinstance(self._matcher, MovingMatcher):
            self._matcher.reset(self._from_frame or 0)
        else:
            self._matcher.reset()
        self._silencer.reset()
        if self._filter is not None:
            self._filter.reset()
