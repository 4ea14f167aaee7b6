"""Find the sequences of a recording: spikes, events, groups, templates, neurons."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting._exceptions import InsufficientActivityError
from spikelab.spike_sorting.rt_sort.clustering import (
    choose_events, event_features, feature_window, group_events, time_courses,
)  # fmt: skip
from spikelab.spike_sorting.rt_sort.detection import PEAK, PeakDetector, PeakStream
from spikelab.spike_sorting.rt_sort.events import find_events
from spikelab.spike_sorting.rt_sort.learning import learn, match, mean_events, stretches
from spikelab.spike_sorting.rt_sort.merging import Units, join_means, merge_units
from spikelab.spike_sorting.rt_sort.model import ModelSpikeSorter
from spikelab.spike_sorting.rt_sort.parameters import SequenceParameters, resolve
from spikelab.spike_sorting.rt_sort.templates import build_bank, window_frames
from spikelab.spike_sorting.rt_sort.traces import Traces
from spikelab.spike_sorting.rt_sort.whitening import Noise, measure_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Peaks = NDArray[np.void]

logger = logging.getLogger(__name__)
N_ROUNDS = 2


def all_peaks(traces: Traces, detector: PeakDetector) -> Peaks:
    """Spikes on single electrodes, in the order of frames; the network sees the recording once."""
    stream = PeakStream(detector, traces.n_channels)
    parts = [np.empty(0, dtype=PEAK)]
    for _, chunk in traces.chunks():
        parts.append(stream.feed(chunk))
    return np.concatenate(parts)


def learn_templates(traces, peaks, parameters, seed, n_jobs=1, log=print):
    import time
    t0=time.time()
    fs = traces.sampling_frequency
    noise = measure_noise(traces)
    events = find_events(peaks, traces.locations, fs, traces.duration_s, parameters)
    before, after = window_frames(fs)
    events = events[(events["frame"] >= before) & (events["frame"] < traces.n_frames - after)]
    events = choose_events(events, parameters.max_events, seed)
    log('events',len(events),time.time()-t0);t0=time.time()
    courses = time_courses(traces, events, noise, seed)
    features, _ = event_features(traces, events, noise, courses)
    log('features',time.time()-t0);t0=time.time()
    labels = group_events(events, features, parameters, seed)
    log('groups',labels.max()+1,time.time()-t0);t0=time.time()
    means, counts = mean_events(traces, events, labels)
    roots = np.array([events["channel"][np.argmax(labels == g)] for g in range(len(counts))], dtype=np.int64)
    origin = before - feature_window(fs)[0]
    max_lag = min(origin, round(0.5*fs/1000))
    log('means',time.time()-t0);t0=time.time()
    means, counts = join_means(means, counts, traces.locations[roots].astype(float), noise, courses, origin, max_lag)
    log('joined',len(counts),time.time()-t0);t0=time.time()
    parts = stretches(traces, parameters.learning_s)
    seconds = sum(e - s for s, e in parts) / fs
    state = []
    for round_ in range(N_ROUNDS):
        bank = build_bank(means, counts, noise, fs, parameters)
        log('bank',len(counts),time.time()-t0);t0=time.time()
        spikes = match(traces, bank, parts, n_jobs)
        log('match',len(spikes),time.time()-t0);t0=time.time()
        learnt = learn(traces, bank, spikes, parts, seed)
        log('learn',time.time()-t0);t0=time.time()
        units = Units(learnt, noise, courses, origin, fs, seconds, parameters)
        for u in range(len(units.means)):
            if learnt.counts[u] < max(parameters.min_seq_spikes_n, parameters.min_seq_spikes_hz*seconds): units.alive[u]=False
        state.append((bank, spikes, learnt))
        keep = np.flatnonzero(units.alive)
        units2 = units
        left = merge_units(units2)
        log('merged',len(keep),'->',len(left),time.time()-t0);t0=time.time()
        means = np.stack([units2.means[u] for u in left]); counts = np.array([units2.counts[u] for u in left])
        # drop those without power
        bank = build_bank(means, counts, noise, fs, parameters)
        good = bank.norms >= parameters.min_discriminability**2
        log('weak',int((~good).sum()))
        means, counts = means[good], counts[good]
    bank = build_bank(means, counts, noise, fs, parameters)
    return bank, noise, dict(events=events, labels=labels, state=state, courses=courses, origin=origin)
