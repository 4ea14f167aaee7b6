"""Sorted units in the formats of other tools, and back.

::

    phy.py             a folder that Phy opens          phy_features.py   what needs traces in it
    phy_curation.py    what was done with it in Phy
    nwb.py             Units, electrodes, epochs
    clock.py           seconds on the clock of the source, with its gaps
    spikeinterface.py  a sorting, a SortingAnalyzer

Each writer takes a :class:`Handoff` and a path; where traces come from and what users may choose is not decided here.
"""

from __future__ import annotations

from .handoff import Handoff

__all__ = ["Handoff"]
