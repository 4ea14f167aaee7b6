"""Write the script that repeats a call into the results folder, for ``save_script``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spikelab.spike_sorting.run.jobs import Job

TEMPLATE = '''"""Repeat the sort that wrote this folder; edit config_used.toml to change it."""

import logging
from pathlib import Path

from spikelab.spike_sorting import config_from_toml, sort_recording

here = Path(__file__).resolve().parent

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sort_recording(
        [{recording}],
        config=config_from_toml(here / "config_used.toml"),
        results_folders=[here],
        intermediate_folders=[here / "intermediate"],
    )
'''
IN_MEMORY = "# The recording was given in memory: put it, or a path to it, in place of the dots.\n"


def repeat_script(job: Job) -> str:
    """Return the source of a script that repeats `job` in its own results folder."""
    if isinstance(job.recording_input, Path):
        return TEMPLATE.format(recording=repr(str(job.recording_input.resolve())))
    script = TEMPLATE.format(recording="...")
    return script.replace('if __name__ == "__main__":', IN_MEMORY + 'if __name__ == "__main__":')
