"""What a report consists of: parts, each with a person's note, sections, clips, and how it is made again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.report.page import PageTable, Section

Recipe = tuple[str, str]  # what it makes, and the command or link


@dataclass(frozen=True)
class StripFrame:
    """A frame as a data URI, with its number; `share` is that of the map's mass, None without a map."""

    uri: str
    frame: int
    share: float | None = None


@dataclass(frozen=True)
class ClipCard:
    """A clip: what it is, its scores (the class, its score, whether it is the label), frames, and what a person said.

    `tone` is a class of the style sheet; `strips` are rows of frames by their names; `problems` say what is missing.
    """

    clip_id: str
    run: str
    label: str
    verdict: str
    tone: str = ""
    facts: str = ""
    tags: Sequence[str] = ()
    note: str = ""
    scores: Sequence[tuple[str, float, bool]] = ()
    strips: Mapping[str, Sequence[StripFrame]] = field(default_factory=dict)
    caption: str = ""
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class ReportPart:
    """A chapter of a report: `facts` are sentences below its title, `problems` say what could not be shown."""

    title: str
    note: str = ""
    facts: Sequence[str] = ()
    problems: Sequence[str] = ()
    sections: Sequence[Section] = ()
    cards: Sequence[ClipCard] = ()
    recipes: Sequence[Recipe] = ()


def shown_numbers(section: Section) -> list[tuple[str, PageTable, pd.DataFrame]]:
    """The name, the table to show and the numbers of each of a section's data."""
    return [(name, PageTable(without_lists(table)), table) for name, table in section.data.items()]


def without_lists(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that a reader can read."""
    return table[[name for name in table if not any(isinstance(value, list | dict) for value in table[name])]]
