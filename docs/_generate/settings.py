"""Page of all settings: ``python -m docs._generate.settings [FILE]``."""

from docs._generate.pages import write_page

from spikelab.spike_sorting.settings.reference import render_markdown

if __name__ == "__main__":
    write_page(render_markdown())
