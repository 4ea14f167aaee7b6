"""Settings as a person gave them on the command line or in a list: which were given, and all their faults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from spikelab.spike_sorting.run.jobs import require_sorter
from spikelab.spike_sorting.settings.keywords import changed, flat_names, keywords, suggestion
from spikelab.spike_sorting.settings.paths import with_absolute_paths
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
from spikelab.spike_sorting.settings.toml import read_config, settings_in_toml
from spikelab.spike_sorting.settings.validation import illegal_settings, with_legal_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path


class Choice(NamedTuple):
    """One setting that nobody gave, and that was chosen."""

    name: str  # flat keyword
    value: Any
    text: str  # what was chosen, and why


class Problem(NamedTuple):
    """A fault of settings: the key of a list that has it, and its text."""

    key: str
    text: str


@dataclass(frozen=True)
class Wanted:
    """A configuration, the flat names of the settings that somebody gave, and those that were chosen."""

    config: SortingPipelineConfig
    given: frozenset[str]
    chosen: Mapping[str, Choice] = field(default_factory=lambda: MappingProxyType({}))

    def located(self, folder: Path) -> Wanted:
        """Return the same with relative paths taken from a folder."""
        return replace(self, config=with_absolute_paths(self.config, folder))

    def gave(self, *names: str) -> bool:
        """Whether somebody gave one of these settings."""
        return not self.given.isdisjoint(names)

    def choose(self, choice: Choice, **also: Any) -> Wanted:
        """Return the same with a choice, and settings that go with it."""
        config = changed(self.config, {choice.name: choice.value, **also})
        return Wanted(config, self.given, MappingProxyType({**self.chosen, choice.name: choice}))

    def take(self, **settings: Any) -> Wanted:
        """Return the same with settings that follow from the recording, such as the name of a stream."""
        return Wanted(changed(self.config, settings), self.given, self.chosen)


def wanted(
    sorter: str | None,
    source: Path | None,
    changes: Mapping[str, Any],
    choose: Callable[[Wanted], Wanted] | None = None,
) -> tuple[Wanted | None, list[Problem]]:
    """Put together a file with settings, single settings by flat keyword on top, and the sorter; with all faults.

    Unknown names do not hide impossible values, nor these an unknown sorter. None where there is no configuration;
    one with faults has legal values in the place of illegal ones, so that the recordings can be looked into.
    `choose` chooses the sorter where nobody gave one.
    """
    known = keywords(SortingPipelineConfig)
    values = {name: value for name, value in changes.items() if name in known}
    if sorter is not None:
        values["sorter_name"] = sorter
    unknown = [name for name in changes if name not in known]
    problems = [Problem("config", f"Unknown parameter {name!r}{suggestion(name, known)}") for name in unknown]
    try:
        config, given = _from_file(source)
        config = changed(config, values)
    except (TypeError, ValueError, OSError) as error:  # a file that is none, or two names of one setting
        return None, [*problems, Problem("config", str(error))]
    given |= _official(values)
    problems += [Problem("config", text) for text in illegal_settings(config)]
    found = Wanted(with_legal_fields(config), frozenset(given))
    return _with_sorter(found, problems, choose)


def _official(names: Iterable[str]) -> set[str]:
    """Return the flat names of settings, which may have been given by the names of their fields."""
    known = keywords(SortingPipelineConfig)
    flat = {place: name for name, place in flat_names(SortingPipelineConfig).items()}
    return {flat[known[name]] for name in names}


def _from_file(source: Path | None) -> tuple[SortingPipelineConfig, set[str]]:
    return (SortingPipelineConfig(), set()) if source is None else (read_config(source), settings_in_toml(source))


def _with_sorter(
    found: Wanted, problems: list[Problem], choose: Callable[[Wanted], Wanted] | None
) -> tuple[Wanted, list[Problem]]:
    """Choose the sorter where nobody gave one, and check its settings."""
    if choose is None:
        return found, [*problems, *_of_the_sorter(found.config)]
    found = choose(found)
    of_sorter = list(_of_the_sorter(found.config))
    if of_sorter:  # what else is wrong is found with another sorter
        found = choose(Wanted(changed(found.config, {"sorter_params": None}), found.given - {"sorter_name"}))
    return found, [*problems, *of_sorter]


def _of_the_sorter(config: SortingPipelineConfig) -> Iterator[Problem]:
    try:
        require_sorter(config)
    except ValueError as error:
        yield Problem("sorter" if config.sorter.sorter_name in str(error) else "config", str(error))
