"""Evidence on the units of a sort, as the data that the report's page draws when a unit is opened.

::

    EvidenceSource   what a sort leaves: units, curation, and the measured size and place of every spike
    evidence_of      one unit, or a selection of spikes that is none yet (a merge, a part of a split) -> UnitEvidence
    embedded         all units, and what they have in common, as one text for the page

``templates/evidence.js`` draws them.
"""

from __future__ import annotations

from spikelab.spike_sorting.report.evidence.embedding import about_of, embedded
from spikelab.spike_sorting.report.evidence.source import EvidenceSource
from spikelab.spike_sorting.report.evidence.unit import UnitEvidence, evidence_of

__all__ = ["EvidenceSource", "UnitEvidence", "about_of", "embedded", "evidence_of"]
