"""Periods of artefact: found in the stored traces or given, and bridged before the filter.

What is in the periods is lost: they become dead time of the recording.

::

    given.py      periods that somebody noted
    finding.py    periods in which many channels jump or stand on a rail
    bridging.py   the traces with a bridge across each
"""
