"""What the shell offers for the values of options: sorters, presets, names of settings, formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

TOOLS = ("phy",)


def _starting(names: list[str], typed: str) -> list[str]:
    return [name for name in names if name.startswith(typed)]


def sorters(_context: click.Context, _option: click.Parameter, typed: str) -> list[str]:
    """Offer the sorters of this package and of plugins, and those of SpikeInterface once their prefix is typed."""
    from spikelab.spike_sorting.backends import list_sorters
    from spikelab.spike_sorting.backends.registry import SPIKEINTERFACE_PREFIX

    names = [*list_sorters(), SPIKEINTERFACE_PREFIX]
    if typed.startswith(SPIKEINTERFACE_PREFIX):
        from spikeinterface.sorters import available_sorters

        names = [SPIKEINTERFACE_PREFIX + name for name in available_sorters()]
    return _starting(names, typed)


def presets(_context: click.Context, _option: click.Parameter, typed: str) -> list[str]:
    """Offer every preset."""
    from spikelab.spike_sorting.settings.presets import PRESETS

    return _starting(list(PRESETS), typed)


def settings(_context: click.Context, _option: click.Parameter, typed: str) -> list[str]:
    """Offer ``FIELD=`` for every setting; after it, the words that the setting may be."""
    from spikelab.spike_sorting.settings.keywords import flat_names
    from spikelab.spike_sorting.settings.reference import words_of
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

    name, equals, _ = typed.partition("=")
    if not equals:
        return _starting([f"{known}=" for known in flat_names(SortingPipelineConfig)], typed)
    return _starting([f"{name}={word}" for word in words_of(name)], typed)


def formats(_context: click.Context, _option: click.Parameter, typed: str) -> list[str]:
    """Offer the formats of ``spikelab export``."""
    from spikelab.spike_sorting.exchange.export import FORMATS

    return _starting(list(FORMATS), typed)


def tools(_context: click.Context, _option: click.Parameter, typed: str) -> list[str]:
    """Offer the tools whose curation ``spikelab import`` brings back."""
    return _starting(list(TOOLS), typed)
