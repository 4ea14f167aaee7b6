"""Find the sequences of a recording.

::

    detection    the network detects spikes on single electrodes, once over the recording
    events       codetections around root electrodes
    clustering   groups of events of one root by their waveforms
    merging      groups that cannot be distinguished are one
    waveforms    in rounds: match, learn waveforms, merge groups of one neuron, also across jumps, divide those of two
    missing      after each round: groups of events that nothing has explained join in
    sequences    what is left
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.rt_sort.artefacts import silenced
from spikelab.spike_sorting.rt_sort.detection.model import ModelSpikeSorter
from spikelab.spike_sorting.rt_sort.detection.peaks import (
    CHUNK_VALUES,
    PEAK,
    PeakDetector,
    PeakStream,
    inference_scaling,
    sightings,
)
from spikelab.spike_sorting.rt_sort.learning.branches import branches_of
from spikelab.spike_sorting.rt_sort.learning.clustering import (
    choose_events,
    event_features,
    feature_window,
    group_events,
    temporal_components,
)
from spikelab.spike_sorting.rt_sort.learning.dividing import LEAST_DIVIDED, divide
from spikelab.spike_sorting.rt_sort.learning.events import find_events, warn_of_far_electrodes
from spikelab.spike_sorting.rt_sort.learning.jumping import Jump, find_jumps, join_pieces, merge_all
from spikelab.spike_sorting.rt_sort.learning.means import MAX_LAG_MS, join_means
from spikelab.spike_sorting.rt_sort.learning.merging import Units
from spikelab.spike_sorting.rt_sort.learning.missing import missed_events, new_groups, residual_of
from spikelab.spike_sorting.rt_sort.learning.parts import Part, Reach, complete, parts_around, whole
from spikelab.spike_sorting.rt_sort.learning.paths import find_paths
from spikelab.spike_sorting.rt_sort.learning.significance import LEAST_SIGNIFICANCE, significance
from spikelab.spike_sorting.rt_sort.learning.waveforms import learn, match, mean_events
from spikelab.spike_sorting.rt_sort.matching.moving import MovingBank, Versions
from spikelab.spike_sorting.rt_sort.matching.templates import bank_from_waveforms, denoise, energies_of, window_frames
from spikelab.spike_sorting.rt_sort.memory import learning_bytes, require
from spikelab.spike_sorting.rt_sort.movement import Movement
from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters, resolve
from spikelab.spike_sorting.rt_sort.sequences import Sequences, describe, find_root, shift
from spikelab.spike_sorting.rt_sort.sorter import RTSort
from spikelab.spike_sorting.rt_sort.traces import Traces
from spikelab.spike_sorting.rt_sort.whitening import Noise, measure_noise
from spikelab.system.memory import release
from spikelab.system.progress import Progress, ignore
from spikelab.system.resources import available_cores

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.rt_sort.matching.templates import TemplateBank
    from spikelab.spike_sorting.rt_sort.sequences import Waveform

    Peaks = NDArray[np.void]
    Spikes = NDArray[np.void]

logger = logging.getLogger(__name__)
N_ROUNDS, MOST_ROUNDS = 2, 4  # at least, and while matching leaves what is a neuron, or gives it to another
# Of the time, in percent, as measured; of a round in both rounds.
SHARES = {"noise": 7.0, "detect": 13.0, "group": 18.0, "matching": 14.0, "learning": 10.0, "looking": 7.0}
READS = 2  # chunks of the network that are read at a time
SCALING_MS = 50.0
CHECK_FIRST = (
    "Check first that the traces are in microvolts (gain, data type) and show spikes by eye, then the positions of "
    "the electrodes."
)


def detect_sequences(
    recording: Any,
    *,
    probe: Literal["mea", "neuropixels"] = "mea",
    model_path: str | Path | None = None,
    device: str = "cpu",
    num_processes: int | None = None,
    recording_window_ms: tuple[float, float] | None = None,
    detection_window_s: float | None = None,
    seed: int = 0,
    verbose: bool = False,
    chunk_values: int = CHUNK_VALUES,
    memory_bytes: int | None = None,
    **params: Any,
) -> RTSort:
    """Find the sequences (neurons) of a recording.

    Parameters
    ----------
    recording : BaseRecording or BinaryRecording
        Band-passed, one segment, with the positions of its electrodes. It is read several times: a recording that
        filters lazily should be saved first.
    probe : {"mea", "neuropixels"}
        Bundled model and defaults.
    model_path : path, optional
        Folder of another detection model.
    device : str
        "cpu", "cuda" or another device of PyTorch, for the network.
    num_processes : int, optional
        Threads; all cores where None. The result does not depend on them.
    recording_window_ms : (float, float), optional
        Part of the recording to use.
    detection_window_s : float, optional
        Use only the first seconds of that part.
    seed : int
    verbose : bool
        Show progress.
    chunk_values : int
        Values of the traces that the network takes at a time; fewer need less memory. The result does not depend on it.
    memory_bytes : int, optional
        Limit for all arrays. The result does not depend on it.
    **params
        Any field of :class:`~.parameters.SequenceParameters`.

    Returns
    -------
    RTSort

    Raises
    ------
    InsufficientActivityError
        If there is no sequence.
    ModelLoadingError
        If the detection model cannot be loaded.
    ValueError
        For an unknown parameter, a recording without positions, or more neurons than there is memory for.

    Examples
    --------
    >>> from spikelab.spike_sorting.config import RecordingConfig
    >>> from spikelab.spike_sorting.recording import open_recording
    >>> from spikelab.spike_sorting.rt_sort import detect_sequences
    >>> filtered = open_recording("culture.raw.h5", RecordingConfig())
    >>> rt_sort = detect_sequences(filtered)
    >>> rt_sort.sort_offline(filtered).get_num_units() == rt_sort.n_sequences
    True
    """
    parameters = resolve(probe, params)
    model = ModelSpikeSorter.load(model_path) if model_path is not None else ModelSpikeSorter.load_bundled(probe)
    traces = Traces.of(recording, recording_window_ms).first(detection_window_s)
    n_jobs = num_processes or available_cores()
    progress = Progress("RT-Sort", 100.0, "%", watch=None if verbose else ignore)
    with progress.step("RT-Sort: measuring the noise", SHARES["noise"]):
        noise = measure_noise(traces)
        without = silenced(traces, noise)
        if without is not traces:
            traces, noise = without, measure_noise(without)
    release()
    with progress.step("RT-Sort: detecting spikes", SHARES["detect"]):
        peaks = detect_all(
            traces, model, parameters, device=device, n_jobs=n_jobs, verbose=verbose, chunk_values=chunk_values
        )
    size = (traces.n_frames, traces.n_channels, traces.sampling_frequency, chunk_values)
    require(learning_bytes(*size, 0, len(peaks)), memory_bytes, f"{len(peaks)} spikes on single electrodes")
    release()
    learner = Learner(traces, noise, parameters, seed=seed, n_jobs=n_jobs, progress=progress)
    with progress.step("RT-Sort: grouping spikes that look alike", SHARES["group"]):
        events = learner.events(peaks)
        peaks = sightings(peaks)
        labels = learner.label(events, peaks)
        n_groups = int(labels.max()) + 1
        require(learning_bytes(*size, n_groups, len(peaks)), memory_bytes, f"{n_groups} groups of events")
        groups = learner.clean(*learner.group(events, labels))
    release()
    sequences, movement = learner.refine(groups, peaks)
    rt_sort = RTSort(
        traces.sampling_frequency, traces.channel_ids, np.asarray(traces.locations, float), noise, sequences,
        parameters, movement,
    )  # fmt: skip
    if parameters.min_seq_spikes_hz > 0:
        spikes = rt_sort.spikes(traces, n_jobs=n_jobs, follow=True)
        rt_sort = learner.frequent(rt_sort, spikes["template"])
    logger.info("RT-Sort: %d neurons found; their spikes are looked for next", rt_sort.n_sequences)
    return rt_sort


def detect_all(
    traces: Traces, model: ModelSpikeSorter, parameters: SequenceParameters, *, device: str = "cpu",
    n_jobs: int = 1, verbose: bool = False, chunk_values: int = CHUNK_VALUES,
) -> Peaks:  # fmt: skip
    """Detect spikes on single electrodes, in the order of frames; the recording is read once."""
    scaling = 1.0
    if not model.normalises_by_sigma:
        first = traces.read(0, max(1, round(SCALING_MS * traces.sampling_frequency / 1000)))
        scaling = inference_scaling(first, parameters.inference_scaling_numerator)
    detector = PeakDetector(
        model, traces.sampling_frequency, device=device, inference_scaling=scaling,
        min_probability=parameters.min_loose_elec_prob, chunk_values=chunk_values, n_jobs=n_jobs,
        block_ms=parameters.pre_median_ms,
    )  # fmt: skip
    stream = PeakStream(detector, traces.n_channels)
    found = bytearray()  # grows where it is; arrays that are joined are there twice
    with Progress("RT-Sort: detecting spikes", traces.duration_s, "s") if verbose else nullcontext() as progress:
        for _, chunk in traces.chunks(READS * chunk_values):
            peaks = stream.feed(chunk)
            found += peaks[~traces.in_artefact(peaks["frame"])].tobytes()
            if progress is not None:
                progress.update(len(chunk) / traces.sampling_frequency)
    return np.frombuffer(found, dtype=PEAK)


class Learner:
    """Finds events, groups them, and learns the sequences, with `n_jobs` threads."""

    def __init__(
        self, traces: Traces, noise: Noise, parameters: SequenceParameters, *, seed: int = 0, n_jobs: int = 1,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self.progress = progress or Progress("RT-Sort", 100.0, "%", watch=ignore)
        self.traces, self.noise, self.parameters, self.seed, self.n_jobs = traces, noise, parameters, seed, n_jobs
        fs = traces.sampling_frequency
        self.before, self.after = window_frames(fs)
        self.origin = self.before - feature_window(fs)[0]
        self.reach = max(1, round(parameters.ms_after * fs / 1000))
        self.parts, self.jumps = whole(traces), list[Jump]()
        self.found, self.is_sample = np.empty(0, dtype=PEAK), False
        self.components: FloatArray = np.empty((0, 0), dtype=np.float32)

    def events(self, peaks: Peaks) -> Peaks:
        """Find the events to cluster; see :func:`.events.find_events`."""
        traces, parameters = self.traces, self.parameters
        events = find_events(peaks, traces.locations, traces.sampling_frequency, traces.live_s, parameters)
        usable = traces.inside(events["frame"], self.before, self.after) & traces.learnable(events["frame"])
        self.found = events[usable]
        self.is_sample = len(self.found) > self.parameters.max_events
        events = choose_events(self.found, parameters.max_events, self.seed)
        logger.info("RT-Sort: %d spikes on single electrodes; %d are grouped by their looks", len(peaks), len(events))
        warn_of_far_electrodes(traces.locations, parameters.inner_radius)
        if len(events) == 0:
            raise self._nothing(
                f"of {len(peaks)} spikes on single electrodes none is seen by {parameters.min_activity_root_cocs} "
                f"electrodes within {parameters.inner_radius:g} um of each other (min_activity_root_cocs, inner_radius)"
                if len(peaks)
                else "the network sees no spike on any electrode"
            )
        return events

    def label(self, events: Peaks, peaks: Peaks) -> IntArray:
        """Cluster events by their waveforms; return the group of each event, -1 for none."""
        self.components = temporal_components(self.traces, events, self.noise, self.seed)
        labels = self._cluster(self.traces, events, peaks)
        if labels.max(initial=-1) < 0:
            few = f"of {len(events)} spikes that several electrodes see no {self.parameters.min_coc_n} look alike"
            raise self._nothing(f"{few} (min_coc_n); a longer recording may have more")
        return labels

    def _cluster(self, traces: Traces, events: Peaks, peaks: Peaks) -> IntArray:
        features, _ = event_features(traces, events, self.noise, self.components)
        branches = branches_of(events, peaks, traces.locations, traces.sampling_frequency, self.parameters)
        return group_events(events, features, branches, self.parameters, self.seed)

    def group(self, events: Peaks, labels: IntArray) -> tuple[FloatArray, NDArray[np.float64]]:
        """Average the waveforms of groups, join groups that do not differ; return means and counts."""
        traces, noise = self.traces, self.noise
        self._choose_parts(events["frame"], labels)
        means, counts = mean_events(traces, events, labels)
        first = np.unique(labels, return_index=True)[1][-len(counts) :]
        positions = np.asarray(traces.locations, dtype=np.float64)[events["channel"][first]]
        max_lag = min(self.origin, round(MAX_LAG_MS * traces.sampling_frequency / 1000))
        joined = join_means(means, counts, positions, noise, self.components, self.origin, max_lag)
        logger.debug("RT-Sort: %d groups, %d that differ", len(counts), len(joined[1]))
        return joined

    def refine(self, groups: list[Waveform], peaks: Peaks) -> tuple[Sequences, Movement]:
        """Match, learn and merge until the groups are neurons and matching leaves no other; return their paths too."""
        versions = Versions.of(groups)
        for number in range(1, MOST_ROUNDS + 1):
            bank = self._bank(versions)
            release()
            with self._step("matching spikes to neurons", number):
                spikes = self._matched(bank)
            with self._step("learning waveforms", number):
                units = self._units(bank, spikes, peaks)
                self.jumps = self.jumps or find_jumps(units, self.traces.locations)
                merged = merge_all(units, self.jumps, self.traces.locations)
                left = self._divided(units, merged) if number < MOST_ROUNDS else merged  # to be learnt in the next
                means, counts, sequences, versions = self._neurons(units, left, peaks)
            logger.info("RT-Sort, round %d: %d neurons so far", number, len(counts))
            if number == MOST_ROUNDS:
                break
            with self._step("looking for missed neurons", number):
                if number == N_ROUNDS and self.is_sample:
                    more, n_more = self._overlooked(self._bank(versions), peaks)
                else:
                    *_, more, n_more = self._missing(bank, spikes, self.parts, peaks)
            if number >= N_ROUNDS and not len(n_more) and len(left) == len(merged):
                break
            logger.info("RT-Sort, round %d: %d more possible neurons in what was left", number, len(n_more))
            means, counts = np.concatenate([means, more]), np.concatenate([counts, n_more])
            versions = versions.plus(self.clean(more, n_more))
        return sequences, self._movement(sequences, means, counts, versions)

    def _divided(self, units: Units, merged: IntArray) -> IntArray:
        join = partial(join_pieces, jumps=self.jumps, places=self.traces.locations)
        return divide(units, merged, max(LEAST_DIVIDED, self.parameters.min_seq_spikes_n), self.seed, join)

    def _step(self, label: str, number: int) -> AbstractContextManager[Progress]:
        """Name a step of a round; those of rounds beyond the usual ones are no part of the estimate."""
        amount = SHARES[label.partition(" ")[0]] if number <= N_ROUNDS else 0.0
        return self.progress.step(f"RT-Sort, round {number}: {label}", amount)

    def _matched(self, bank: TemplateBank | MovingBank) -> Spikes:
        seconds = sum(end - start for start, end, *_ in self.parts) / self.traces.sampling_frequency
        with Progress("RT-Sort: matching spikes to neurons", seconds, "s", watch=self.progress.watch) as progress:
            return match(self.traces, bank, self.parts, self.n_jobs, done=progress.update)

    def _bank(self, versions: Versions) -> TemplateBank | MovingBank:
        fs = self.traces.sampling_frequency
        if len(versions.changes):
            return MovingBank(versions, self.noise, fs, self.parameters)
        return bank_from_waveforms(list(versions.waveforms), self.noise, fs, self.parameters)

    def clean(self, means: FloatArray, counts: NDArray[np.float64]) -> list[Waveform]:
        """Find the channels of means of so many spikes, and remove their noise; see :func:`.templates.denoise`."""
        return [denoise(mean, count, self.noise) for mean, count in zip(means, counts, strict=True)]

    def _movement(
        self, sequences: Sequences, means: FloatArray, counts: NDArray[np.float64], versions: Versions
    ) -> Movement:
        """Put the paths on the clock of the sequences."""
        moving = np.flatnonzero(versions.n_each > 1).tolist()
        lags = {u: self._lag(means[u], counts[u]) for u in moving}
        waveforms = tuple(
            (channels, shift(waveform, lags.get(u, 0)))
            for u, (channels, waveform) in zip(versions.templates.tolist(), versions.waveforms, strict=True)
        )
        movement = Movement.of(versions._replace(waveforms=waveforms), self.traces)
        if len(movement.units):
            n_moved = len(np.unique(movement.units))
            logger.info("RT-Sort: %d of %d neurons move or change their size; followed", n_moved, sequences.n_sequences)
        return movement

    def _lag(self, mean: FloatArray, count: float) -> int:
        channels, waveform = denoise(mean, count, self.noise)
        return (
            find_root(channels, waveform, self.noise.sigma, self.before, self.reach, self.parameters)[1] - self.before
        )

    def _neurons(
        self, units: Units, left: IntArray, peaks: Peaks
    ) -> tuple[FloatArray, NDArray[np.float64], Sequences, Versions]:
        """Leave out of the units in `left` those that are too weak or noise; describe the others and their paths."""
        means = np.stack([units.means[u] for u in left]) if len(left) else np.stack(units.means)[:0]
        counts = np.array([units.counts[u] for u in left])
        clean = self.clean(means, counts)
        surely = np.array(
            [significance(units.examples[u], units.channels[u], self.noise, self.parameters) for u in left],
            dtype=np.float32,
        )
        energies = energies_of(clean, self.noise)
        strong = (energies >= self.parameters.min_discriminability**2) & (surely >= LEAST_SIGNIFICANCE)
        n_merged = len(left)
        means, counts, left = means[strong], counts[strong], left[strong]
        trains = [(units.frames[u], units.scales[u]) for u in left]
        sequences = describe(
            [clean[k] for k in np.flatnonzero(strong)], counts.astype(np.int64), trains, peaks, self.noise.sigma,
            self.before, self.reach, self.parameters,
        )  # fmt: skip
        sequences = replace(sequences, significance=surely[strong])
        seen = sequences.seen_by_network(self.traces.locations, self.parameters)
        logger.debug(
            "RT-Sort: after merging %d, more than noise %d, seen by the network %d",
            n_merged, len(counts), int(seen.sum()),
        )  # fmt: skip
        if not seen.any():
            raise self._nothing("no group of events stands out from the noise")
        versions = find_paths(units, left[seen], self.traces.n_frames, self.parameters)
        return means[seen], counts[seen], sequences.subset(seen), versions

    def _units(self, bank: TemplateBank | MovingBank, spikes: Spikes, peaks: Peaks) -> Units:
        learnt = learn(self.traces, bank, spikes, self.parts, self.seed)
        fs = self.traces.sampling_frequency
        units = Units(learnt, self.noise, self.components, self.origin, fs, self.parameters, peaks)
        units.alive &= np.array(units.counts) >= self.parameters.min_seq_spikes_n
        return units

    def _missing(
        self, bank: TemplateBank | MovingBank, spikes: Spikes, parts: list[Part], peaks: Peaks
    ) -> tuple[IntArray, IntArray, FloatArray, NDArray[np.float64]]:
        """Group the events in some parts that matching has left over.

        Returned are frames and groups of the events of new neurons, and means and counts of these groups.
        """
        usable = complete(parts, self.found["frame"], Reach(self.before, self.after))
        residual = residual_of(self.traces, bank, spikes)
        missed = missed_events(self.found[usable], residual, self.noise)
        missed = choose_events(missed, self.parameters.max_events, self.seed)
        labels = self._cluster(residual, missed, peaks) if len(missed) else np.empty(0, dtype=np.int64)
        means, counts, kept = new_groups(
            self.traces, residual, missed, labels, bank, spikes, self.noise, self.parameters
        )
        logger.debug("RT-Sort: of %d events %d are missed, %d new groups", int(usable.sum()), len(missed), len(counts))
        new = np.isin(labels, kept)
        return missed["frame"][new], np.searchsorted(kept, labels[new]), means, counts

    def _overlooked(self, bank: TemplateBank | MovingBank, peaks: Peaks) -> tuple[FloatArray, NDArray[np.float64]]:
        """Look for missing neurons in the whole recording, where clustering has seen a sample of its events.

        Rare neurons beside busy ones have few events in a sample. From here on is learnt from parts that have theirs.
        """
        everything = whole(self.traces)
        spikes = match(self.traces, bank, everything, self.n_jobs)
        frames, groups, means, counts = self._missing(bank, spikes, everything, peaks)
        if len(counts):
            self._choose_parts(
                np.concatenate([spikes["frame"], frames]),
                np.concatenate([spikes["template"], groups + bank.n_templates]),
            )
        return means, counts

    def _choose_parts(self, frames: IntArray, groups: IntArray) -> None:
        reach = Reach(self.before, self.after)
        self.parts = parts_around(self.traces, frames, groups, reach, self.parameters.learning_s, self.seed)

    def frequent(self, rt_sort: RTSort, templates: NDArray[np.int32]) -> RTSort:
        """Leave out sequences whose spikes, by `templates` over the whole recording, are below the least rate."""
        counts = np.bincount(templates, minlength=rt_sort.n_sequences)
        kept = counts >= self.parameters.min_seq_spikes_hz * self.traces.live_s
        if not kept.any():
            raise self._nothing(f"no sequence fires at {self.parameters.min_seq_spikes_hz:g} Hz (min_seq_spikes_hz)")
        return rt_sort.subset(kept)

    def _nothing(self, found: str) -> InsufficientActivityError:
        return InsufficientActivityError(
            f"RT-Sort found no sequence in {self.traces.duration_s:.1f} s of {self.traces.n_channels} channels: "
            f"{found}. {CHECK_FIRST}",
            sorter="rt_sort",
            units_at_failure=0,
        )
