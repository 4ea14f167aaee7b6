"""The page of all settings: ``python -m docs._generate.settings [FILE]`` writes it as Markdown."""

from __future__ import annotations

import sys

from docs._generate.pages import write_page

from spikelab.spike_sorting.settings.table import render_markdown

if __name__ == "__main__":
    write_page(render_markdown(), sys.argv[1:])
