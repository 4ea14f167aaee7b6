"""What the server answers, by name: each a function of the query or the body."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.decisions import packed
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.view.page import linked_files, live_page
from spikelab.spike_sorting.view.projections import MOST_POINTS, Projection, project, second_part
from spikelab.spike_sorting.view.server import Answers
from spikelab.spike_sorting.view.traces import TraceFile, dead_in, encoded, next_spike, picture, spikes_in, window_of
from spikelab.spike_sorting.view.units import PageUnits

if TYPE_CHECKING:
    from spikelab.spike_sorting.data import BinaryRecording
    from spikelab.spike_sorting.view.applying import Applying
    from spikelab.spike_sorting.view.server import Query
    from spikelab.spike_sorting.view.session import Session

MOST_CHANNELS = 256  # of one picture


class Desk:
    """Answers the questions of the page."""

    def __init__(self, session: Session, traces: TraceFile) -> None:
        self.session, self.file = session, traces
        self.units = PageUnits(session.results)
        self._linked = linked_files(session.results.folder)
        self._last: tuple[tuple[Any, ...], Projection] | None = None  # projection that was drawn last

    def reload(self) -> None:
        """Take up results that were written anew."""
        results = Results.open(self.session.results.folder)
        self.session.reload(results)
        self.file.results, self.units, self._last = results, PageUnits(results), None
        self._linked.clear()
        self._linked.update(linked_files(results.folder))

    def answers(self, applying: Applying) -> Answers:
        """Return the tables of the server."""
        folder = self.session.results.folder
        return Answers(
            page=lambda: live_page(folder),
            get={
                "state": self.session.state,
                "traces": self.traces,
                "spike": self.spike,
                "unit": self.unit,
                "projection": self.projection,
                "apply": applying.progress,
            },
            post={
                "act": self.act,
                "undo": self.session.undo,
                "redo": self.session.redo,
                "apply": applying.start,
                "stop": applying.stop,
            },
            files=self._linked,
        )

    def traces(self, query: Query) -> dict[str, Any]:
        """Answer with the traces of a window, its spikes and its dead time; frames count from the recording's start."""
        recording = self.file.opened()
        if recording is None:
            return {"note": self.file.note, "wait": not self.file.trouble}
        start, end = window_of(recording, int(query["start"]), int(query["frames"]))
        channels = _channels(query["channels"], recording)
        counts, step = picture(recording, start, end, channels, int(query["pixels"]))
        units = self.session.current()[1].units
        spikes, more = spikes_in(units.values(), start, end)
        return {
            "note": self.file.note,
            "start": start,
            "end": end,
            "step": step,
            "channels": channels,
            "gain_uv": float(recording.gain_uv),
            "counts": encoded(counts),
            "spikes": [{**each, "channel": self.units.main_channel(units[each["unit"]])} for each in spikes],
            "more_spikes": more,
            "dead": dead_in(recording, start, end),
        }

    def unit(self, query: Query) -> dict[str, Any]:
        """Answer with the evidence on a unit that is alive."""
        unit = self.session.unit(query["id"])
        return self.units.evidence(unit, self.session.current()[1])

    def spike(self, query: Query) -> dict[str, Any]:
        """Answer with the next spike of a unit after a frame, or before it."""
        frames = self.session.unit(query["unit"]).frames
        return {"frame": next_spike(frames, int(query["after"]), -1 if query.get("back") else 1)}

    def projection(self, query: Query) -> dict[str, Any]:
        """Answer with what a split of a unit is drawn on; of many spikes evenly chosen ones are drawn."""
        shown = self._projected(query["unit"], query["by"])
        if shown is None:
            return {"note": self.file.note, "wait": not self.file.trouble}
        drawn = np.linspace(0, len(shown.x) - 1, min(len(shown.x), MOST_POINTS)).astype(np.int64)
        return {
            "x": encoded(shown.x[drawn].astype(np.float32)),
            "y": encoded(shown.y[drawn].astype(np.float32)),
            "labels": list(shown.labels),
            "n_spikes": len(shown.x),
            "n_drawn": len(drawn),
        }

    def act(self, values: dict[str, Any]) -> dict[str, Any]:
        """Add a step. Of a split by a line or lasso, which spikes go to the second part is found out here."""
        step, revision = values["step"], values["revision"]
        if isinstance(step, dict) and step.get("by") in ("amplitude", "projection") and "second" not in step:
            shown = self._projected(step.get("unit"), step["by"])
            if shown is None:
                raise ValueError(self.file.note)
            step = {**step, "second": packed(second_part(shown, step.get("points")))}
        return self.session.act(step, revision)

    def _projected(self, unit_id: Any, by: str) -> Projection | None:
        recording = self.file.opened()
        if recording is None:
            return None
        unit = self.session.unit(unit_id)
        # By the spikes, not by the id: after an undo another unit may have it. Other requests may change what is kept.
        key = (hashlib.blake2b(unit.frames.tobytes()).digest(), by, recording.path)
        last = self._last
        if last is None or last[0] != key:
            last = key, project(recording, unit.frames, by)
            self._last = last
        return last[1]


def _channels(text: str, recording: BinaryRecording) -> list[int]:
    """Read the indices of channels, ``0,5,7``."""
    channels = [int(part) for part in text.split(",")]
    if not 0 < len(channels) <= MOST_CHANNELS:
        raise ValueError(f"channels: {len(channels)} are asked for; at most {MOST_CHANNELS} are drawn at a time")
    unknown = [channel for channel in channels if not 0 <= channel < recording.n_channels]
    if unknown:
        raise ValueError(f"channels: there is no {unknown[0]}; the recording has {recording.n_channels}")
    return channels
