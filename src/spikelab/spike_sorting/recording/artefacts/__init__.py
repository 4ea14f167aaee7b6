"""Periods of artefact: found in the stored traces or given, and bridged before the filter.

What is in the periods is lost: they become dead time of the recording.
"""

from spikelab.spike_sorting.recording.artefacts.bridging import BridgedRecording, bridged
from spikelab.spike_sorting.recording.artefacts.finding import find_artefacts
from spikelab.spike_sorting.recording.artefacts.given import periods_of_seconds, say_what_is_dead

__all__ = ["BridgedRecording", "bridged", "find_artefacts", "periods_of_seconds", "say_what_is_dead"]
