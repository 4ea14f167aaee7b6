"""Sort several recordings in this process, one after another."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from spikelab.spike_sorting.batch.overview import write_overview
from spikelab.spike_sorting.batch.policy import Outcome, Policy
from spikelab.spike_sorting.run.sort_one import sort_one

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikelab.spike_sorting.run.jobs import Job

logger = logging.getLogger(__name__)


def run_jobs(jobs: Sequence[Job], refused: Mapping[int, Exception] | None = None) -> list[Outcome]:
    """Sort every job in order, unless the environment is broken; write the figures and the page of several.

    Jobs in `refused`, by position, are not started, and have the error there as their outcome.
    """
    outcomes: list[Outcome] = []
    policy, here = Policy(), "this one"
    for number, job in enumerate(jobs, start=1):
        sorter = job.config.sorter.sorter_name
        if number - 1 in (refused or {}):
            outcomes.append(Outcome(job, error=(refused or {})[number - 1]))
            continue
        if not policy.may_start(here, sorter):
            outcomes.append(Outcome(job))
            continue
        if len(jobs) > 1:
            logger.info("recording %d of %d: %s", number, len(jobs), job.name)
        try:
            outcomes.append(Outcome(job, sort_one(job)))
        except Exception as error:  # noqa: BLE001 - the failure of one recording must not end the others
            outcomes.append(Outcome(job, error=error))
            policy.note(here, sorter, error)
            if any(not policy.may_start(here, rest.config.sorter.sorter_name) for rest in jobs[number:]):
                logger.warning("the batch stops with %s: the remaining recordings would fail the same way", sorter)
    write_overview(outcomes)
    return outcomes
