"""What differs between a table of clips that was kept and the dataset as it is now, in words."""

from collections.abc import Mapping

import pandas as pd

from sth_core.errors import first_few

Changes = Mapping[str, tuple[str, str]]  # {clip_id: (before, now)}


def changed_values(before: pd.Series, now: pd.Series) -> dict[str, tuple[str, str]]:
    """The values that differ, of clips that are in both; both are indexed by clip_id."""
    now = now.reindex(before.index)
    other = before.index[now.notna() & (now != before)]
    return {clip: (before[clip], now[clip]) for clip in other}


def name_changes(what: str, changes: Changes) -> str:
    """ "2 labels changed: a.mp4 hug -> run, b.mp4 (none) -> jump"."""
    named = [f"{clip} {old or '(none)'} -> {new or '(none)'}" for clip, (old, new) in changes.items()]
    return f"{len(named):,} {what}{'s' * (len(named) > 1)} changed: {first_few(named)}"


def name_differences(before: pd.DataFrame, now: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """Clips that are new or gone, and values that differ in `columns` ({column: what a value is called}); both tables
    are of text and have a clip_id."""
    before, now = (table.set_index("clip_id").sort_index() for table in (before, now))
    parts = []
    for column, what in columns.items():
        if changes := changed_values(before[column], now[column]):
            parts.append(name_changes(what, changes))
    for one, other, what in ((now, before, "new"), (before, now, "gone")):
        if names := sorted(set(one.index) - set(other.index)):
            parts.append(f"{len(names):,} {'clip is' if len(names) == 1 else 'clips are'} {what}: {first_few(names)}")
    return "; ".join(parts)
