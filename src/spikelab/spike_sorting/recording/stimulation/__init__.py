"""Stimulation pulses: where they are, and the traces without them.

::

    times.py           the times that somebody noted: lists, files, seconds to frames
    events.py          the times that a file holds itself
    channels.py        which event channels of a file are of the stimulator
    onsets.py          the onset of each pulse to the sample
    matching.py        which jump in the traces is the onset of which pulse
    planning.py        how pulses are removed from each channel, by what is left of them
    removal.py         the traces without pulses
    _decay_kernels.py  compiled loops that fit decays
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from spikelab.spike_sorting.recording.stimulation.channels import of_stimulator
from spikelab.spike_sorting.recording.stimulation.events import pulse_events, require_events
from spikelab.spike_sorting.recording.stimulation.times import (
    AUTO,
    as_frames,
    by_file_clock,
    given_times,
)
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import FloatArray, IntArray
    from spikelab.spike_sorting.recording.stimulation.removal import Plan

__all__ = [
    "AUTO",
    "Noted",
    "WithoutPulses",
    "as_frames",
    "by_file_clock",
    "given_times",
    "pulse_events",
    "require_events",
    "without_pulses",
]

logger = logging.getLogger(__name__)
Noted: TypeAlias = "tuple[IntArray, tuple[str, ...]]"
"""Frames of pulses, and the site of each."""
NAMED = 5  # channels, in a message
LONGER_MS = 0.5  # than the dead time: what is bridged for longer is named
# A warning tells of so many times the noise of quiet stretches, on so large a share of the channels.
MUCH_LEFT, MUCH_LEFT_SHARE = 3.0, 0.1
MOST_UNSEEN = 0.5  # share of the pulses of which nothing is seen above which a warning asks whether they are right


@dataclass(frozen=True)
class WithoutPulses:
    """A recording without its pulses.

    Attributes
    ----------
    recording : BaseRecording
        As stored, in float32.
    pulses : tuple of numpy.ndarray
        First frame and site of each pulse of each segment, and for how many frames some channel is bridged, shape
        (pulses, 3); one that is not seen is where it was given.
    dead_time : tuple of numpy.ndarray
        Periods of each segment, shape (periods, 2).
    """

    recording: BaseRecording
    pulses: tuple[IntArray, ...]
    dead_time: tuple[IntArray, ...]


def without_pulses(
    recording: BaseRecording,
    given: Sequence[Noted],
    site_names: Sequence[str],
    band: tuple[float, float],
    label: str,
    *,
    only_seen: bool = False,
) -> WithoutPulses:
    """Find the onsets of the pulses, choose how they are removed, and say so.

    `given` has frames and sites of each segment, `site_names` those of all files; `band` are the edges of the filter
    that follows, in Hz. Where nothing is seen of a pulse, nothing is removed; with `only_seen` a site whose times are
    not those of pulses, such as the trigger of a camera, is left out.
    """
    from spikelab.spike_sorting.recording.stimulation.removal import WithoutPulsesRecording

    frames, sites = _in_order(given, site_names, label)
    search, fs = _search(recording), float(recording.get_sampling_frequency())
    if only_seen:
        frames, sites = of_stimulator(frames, sites, site_names, search, fs, label)
    onsets = search(frames)
    pulses = tuple(
        np.unique(np.column_stack([np.where(own < 0, noted, own), of_sites]), axis=0)
        for own, noted, of_sites in zip(onsets, frames, sites, strict=True)
    )
    _tell_unseen(onsets, frames, fs, label)
    pulse_frames, together, names = _by_sites(onsets, sites, site_names)
    plans = _plans(recording, pulse_frames, together, len(names))
    if not any(len(plan.onsets) for plan in plans):
        nothing = tuple(np.empty((0, 2), dtype=np.int64) for _ in plans)
        return WithoutPulses(recording, tuple(map(_with_bridged, pulses)), nothing)
    plans, dead, until = _chosen(recording, plans, band, names, label)
    return WithoutPulses(
        WithoutPulsesRecording(recording, plans), tuple(map(_with_bridged, pulses, plans, until)), dead
    )


def _with_bridged(pulses: IntArray, plan: Plan | None = None, until: IntArray | None = None) -> IntArray:
    """Append for how many frames some channel is bridged, which it is `until` a frame; nothing is of pulses unseen."""
    bridged = np.zeros(len(pulses), dtype=np.int64)
    if plan is not None and until is not None and len(until):
        at = np.searchsorted(plan.begins, pulses[:, 0]).clip(0, len(until) - 1)
        bridged = np.where(plan.begins[at] == pulses[:, 0], until[at] - pulses[:, 0], 0)
    return np.column_stack([pulses, bridged])


def _in_order(given: Sequence[Noted], site_names: Sequence[str], label: str) -> tuple[list[IntArray], list[IntArray]]:
    """Return frames and sites of the pulses of each segment, in order; a frame that a site has twice counts once."""
    every = [
        np.array([(frame, site_names.index(name)) for frame, name in zip(frames.tolist(), names, strict=True)])
        for frames, names in given
    ]
    rows = [np.unique(own.reshape(-1, 2).astype(np.int64), axis=0) for own in every]
    twice = sum(map(len, every)) - sum(map(len, rows))
    if twice:
        warn(
            f"{label}: {twice} stimulation times lie on the same frame as another of their site: each frame counts once"
        )
    return [own[:, 0] for own in rows], [own[:, 1] for own in rows]


def _by_sites(
    onsets: Sequence[IntArray], sites: Sequence[IntArray], site_names: Sequence[str]
) -> tuple[list[IntArray], list[IntArray], list[str]]:
    """Return the distinct onsets of each segment, and by which sites together each is, with the names of these."""
    found = [_sites_of_each(own, of_sites) for own, of_sites in zip(onsets, sites, strict=True)]
    kinds = sorted({kind for _, own in found for kind in own})
    names = [" and ".join(site_names[site] for site in kind if site_names[site]) for kind in kinds]
    together = [np.array([kinds.index(kind) for kind in own], dtype=np.int64) for _, own in found]
    return [frames for frames, _ in found], together, names


def _sites_of_each(onsets: IntArray, sites: IntArray) -> tuple[IntArray, list[tuple[int, ...]]]:
    """Return the distinct onsets that were found, and the sites of each."""
    rows = np.unique(np.column_stack([onsets, sites])[onsets >= 0], axis=0)
    frames, first = np.unique(rows[:, 0], return_index=True)
    return frames, [tuple(part.tolist()) for part in np.split(rows[:, 1], first[1:])][: len(frames)]


def _search(recording: BaseRecording) -> Callable[[Sequence[IntArray]], list[IntArray]]:
    """Return what finds the onsets near frames of each segment."""
    from spikelab.spike_sorting.recording.stimulation.onsets import find_onsets, usual_change

    fs, changes = float(recording.get_sampling_frequency()), cache(lambda segment: usual_change(segment, fs))

    def search(frames: Sequence[IntArray]) -> list[IntArray]:
        return [
            find_onsets(segment, own, changes(segment), fs) if len(own) else own
            for segment, own in zip(recording.segments, frames, strict=True)
        ]

    return search


def _tell_unseen(onsets: Sequence[IntArray], frames: Sequence[IntArray], fs: float, label: str) -> None:
    unseen = [int(frame) for own, noted in zip(onsets, frames, strict=True) for frame in noted[own < 0]]
    total = sum(map(len, frames))
    if not unseen:
        return
    first = ", ".join(f"{frame / fs:.4g} s" for frame in unseen[:NAMED]) + (" and more" if len(unseen) > NAMED else "")
    message = (
        f"{label}: of {len(unseen)} of {total} stimulation pulses nothing is seen within 3 ms of their times "
        f"({first}). They are left as given, and nothing is removed there"
    )
    if len(unseen) > MOST_UNSEEN * total:
        message += ". Are the times in seconds, and do they count from the first frame of the recording?"
    warn(message)


def _plans(recording: BaseRecording, onsets: Sequence[IntArray], sites: Sequence[IntArray], n_sites: int) -> list[Plan]:
    from spikelab.spike_sorting.recording.stimulation.planning import LONGEST_MS, held_frames, rails_of
    from spikelab.spike_sorting.recording.stimulation.removal import DECAY, Plan

    fs, shape = float(recording.get_sampling_frequency()), (n_sites, recording.get_num_channels())
    plans = []
    for segment, own, of_sites in zip(recording.segments, onsets, sites, strict=True):
        first, rails = np.full(shape, round(LONGEST_MS * fs / 1000), dtype=np.int64), rails_of(segment, own, fs)
        held = held_frames(segment, own, rails, fs)
        plans.append(Plan(own + held, of_sites, first, np.full(shape, DECAY), *rails, held))
    return plans


def _chosen(
    recording: BaseRecording, plans: list[Plan], band: tuple[float, float], site_names: Sequence[str], label: str
) -> tuple[list[Plan], tuple[IntArray, ...], list[IntArray]]:
    """Choose by site how pulses are removed; return the plans and the dead time of each segment.

    Returned, too, are the frames until which some channel is bridged.
    """
    from spikelab.spike_sorting.data.dead_time import union
    from spikelab.spike_sorting.recording.stimulation import planning

    fs = float(recording.get_sampling_frequency())
    quiet = planning.quiet_noise(recording, plans, band)
    first, method = plans[0].first.copy(), plans[0].method.copy()
    for site, name in enumerate(site_names):
        n_pulses = sum(int((plan.sites == site).sum()) for plan in plans)
        if n_pulses:
            first[site], method[site], left = planning.Site(recording, plans, site, band).choose(quiet)
            what = f"{n_pulses} pulses" + (f" of {name}" if name else "")
            blind = planning.blind_frames(first[site], fs)
            logger.info("%s: %s", label, _told(recording, what, first[site], method[site], left, blind))
            _warn_of_what_is_left(label, what, left)
    plans = [replace(plan, first=first, method=method) for plan in plans]
    found = [planning.dead_periods(own, plan, fs) for own, plan in zip(recording.segments, plans, strict=True)]
    _tell_held(label, plans, fs)
    return plans, tuple(union(periods) for periods, _ in found), [until for _, until in found]


def _tell_held(label: str, plans: Sequence[Plan], fs: float) -> None:
    held = np.concatenate([plan.held for plan in plans])
    if held.any():
        logger.info(
            "%s: %d pulses hold more than a tenth of the channels on a rail, for up to %.3g ms, which is dead time",
            label, int((held > 0).sum()), 1000 * held.max() / fs,
        )  # fmt: skip


def _warn_of_what_is_left(label: str, what: str, left: FloatArray) -> None:
    """Warn where many channels are noisier after pulses than MUCH_LEFT times quiet stretches, or blind until later."""
    loud, blind = np.isfinite(left) & (left > MUCH_LEFT), np.isinf(left)
    if (loud | blind).mean() <= MUCH_LEFT_SHARE:
        return
    parts = []
    if loud.any():
        parts.append(f"{int(loud.sum())} have up to {float(left[loud].max()):.3g} times the noise of quiet stretches")
    if blind.any():
        parts.append(f"of {int(blind.sum())} the noise could not be measured, as they were bridged or silent")
    warn(
        f"{label}: after the dead time of {what}, of {len(left)} channels {' and '.join(parts)}: spikes then may be of "
        "the pulses. Look at the traces, and leave these milliseconds out"
    )


def _told(recording: BaseRecording, what: str, first: IntArray, method: IntArray, left: FloatArray, blind: int) -> str:
    """Say how the pulses of a site are removed, and which channels are blind for longer than the others."""
    ms = 1000 / float(recording.get_sampling_frequency())
    named = ("bridging alone", "a fitted decay", "a decay and a template")
    how = ", ".join(f"{name} on {n}" for name, n in zip(named, np.bincount(method, minlength=3), strict=True) if n)
    text = (
        f"{what} are removed from {len(first)} channels by {how}; {blind * ms:.3g} ms after each are dead time; the "
        f"noise after that is {float(np.median(left)):.2f} times that of quiet stretches"
    )
    longer = np.flatnonzero((first - blind) * ms > LONGER_MS)
    if len(longer):
        names = ", ".join(str(recording.channel_ids[channel]) for channel in longer[:NAMED])
        more = f" and {len(longer) - NAMED} more" if len(longer) > NAMED else ""
        text += f". Bridged for longer, up to {float(first.max()) * ms:.3g} ms: channels {names}{more}"
    return text
