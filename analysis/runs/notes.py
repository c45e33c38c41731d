"""Notes and tags on a run's clips, in RUN/notes.sqlite: changes are appended, nothing is overwritten.

The file (`notes_file`) keeps each tag that was added or removed and each saved text of a note, so that two people who
write at once lose nothing.
"""

import sqlite3
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.runs.notes_file import Change, append_change, changes_in, read_changes, writing_notes
from analysis.runs.run_directory import Run
from sth_core.errors import UserError

WRONG_LABEL, EXCLUDED = "wrong label", "exclude"  # tags that change a corrected manifest
LONGEST_TAG, LONGEST_LABEL, LONGEST_NOTE = 60, 1000, 10_000  # characters
# Kinds of change; ASIDE: the text that lost a conflict; RIGHT_LABEL: the class that a clip with a wrong label shows.
TAG, UNTAG, NOTE, ASIDE, RIGHT_LABEL = "tag", "untag", "note", "aside", "right label"


@dataclass(frozen=True)
class Note:
    """A clip's note, as of `version`; without a note the version is 0 and the text empty."""

    text: str = ""
    version: int = 0
    changed: str = ""


@dataclass(frozen=True)
class TagStep:
    """What one step changed, for `undo`: the clips that got or lost the tag, and {clip: (right label before, now)}."""

    tag: str
    tagged: tuple[str, ...] = ()
    untagged: tuple[str, ...] = ()
    right_labels: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def clips(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.tagged, *self.untagged, *self.right_labels)))


class Conflict(UserError):
    """Somebody saved `current` meanwhile: it stays the note, and the later text is in the history."""

    def __init__(self, current: Note) -> None:
        super().__init__("This note was changed meanwhile; put the two texts together and save again.")
        self.current = current


def _without(text: str, categories: tuple[str, ...], but: str = "") -> str:
    """`text` without the characters of these Unicode categories, except those in `but`."""
    return "".join(c for c in text if c in but or unicodedata.category(c) not in categories)


def _clean_tag(tag: str) -> str:
    """One line without control and invisible characters, which would make two tags look the same."""
    tag = " ".join(_without(" ".join(tag.split()), ("Cc", "Cf", "Cs")).split())
    tag = unicodedata.normalize("NFC", tag)
    if not tag:
        raise UserError("A tag needs a letter, a digit or a sign.")
    if len(tag) > LONGEST_TAG:
        raise UserError(f"A tag has at most {LONGEST_TAG} characters; this one has {len(tag)}.")
    return tag


def _clean_label(label: str) -> str:
    """The name of a class as datasets' readers have it."""
    name = unicodedata.normalize("NFC", _without(label, ("Cc", "Cs")).strip())
    if not name or len(name) > LONGEST_LABEL:
        raise UserError(f"A class has 1 to {LONGEST_LABEL:,} characters; this one has {len(name):,}.")
    return name


def _tags(changes: list[Change]) -> list[str]:
    last = {change.text: change for change in changes if change.kind in (TAG, UNTAG)}
    return [change.text for change in sorted(last.values(), key=lambda c: c.version) if change.kind == TAG]


def _right_label(changes: list[Change]) -> str:
    """The class that the clip shows, if it is tagged `WRONG_LABEL`; without the tag what was said before is void."""
    right = ""
    for change in changes:
        if change.kind == RIGHT_LABEL:
            right = change.text
        elif (change.kind, change.text) == (UNTAG, WRONG_LABEL):
            right = ""
    return right if WRONG_LABEL in _tags(changes) else ""


def _note(changes: list[Change]) -> Note:
    return next((Note(c.text, c.version, c.changed) for c in reversed(changes) if c.kind == NOTE), Note())


def tags_of(run: Run, clip_id: str) -> list[str]:
    """The clip's tags in the order in which they were added."""
    return _tags(read_changes(run, clip_id))


def add_tag(run: Run, clip_id: str, tag: str) -> None:
    """`tag_clips` of one clip."""
    tag_clips(run, [clip_id], tag)


def remove_tag(run: Run, clip_id: str, tag: str) -> None:
    """`untag_clips` of one clip."""
    untag_clips(run, [clip_id], tag)


def tag_clips(run: Run, clip_ids: Sequence[str], tag: str) -> TagStep:
    """Tag clips, all or none, except those that have this tag already.

    Raises:
        UserError: the run lacks one of the clips, the tag is empty or too long, or nothing can be written.
    """
    tag = _clean_tag(tag)
    with writing_notes(run, *clip_ids) as connection:
        changed = _switch(connection, clip_ids, tag, on=True)
    return TagStep(tag, tagged=changed)


def untag_clips(run: Run, clip_ids: Sequence[str], tag: str) -> TagStep:
    """Remove a tag from those of the clips that have it, all or none.

    Raises:
        UserError: the run lacks one of the clips, or nothing can be written.
    """
    with writing_notes(run, *clip_ids) as connection:
        right = _right_labels(changes_in(connection)) if tag == WRONG_LABEL else {}
        changed = _switch(connection, clip_ids, tag, on=False)
    return TagStep(tag, untagged=changed, right_labels={clip: (right[clip], "") for clip in changed if clip in right})


def set_right_labels(run: Run, labels: Mapping[str, str]) -> TagStep:
    """Tag clips as `WRONG_LABEL`, and say which class each of them shows: {clip_id: class}, or "" if it is not known;
    all or none.

    Raises:
        UserError: the run lacks one of the clips, a class is blank or too long, or nothing can be written.
    """
    clean = {clip_id: label and _clean_label(label) for clip_id, label in labels.items()}
    with writing_notes(run, *clean) as connection:
        tagged = _switch(connection, list(clean), WRONG_LABEL, on=True)
        before = _say_labels(connection, clean)
    return TagStep(WRONG_LABEL, tagged=tagged, right_labels={clip: (old, clean[clip]) for clip, old in before.items()})


def undo(run: Run, step: TagStep) -> None:
    """Take a step back, except where somebody has said another right label since.

    Raises:
        UserError: the run lacks one of the clips by now, or nothing can be written.
    """
    with writing_notes(run, *step.clips) as connection:
        now = _right_labels(changes_in(connection))
        set_to = {clip: label for clip, (_, label) in step.right_labels.items()}
        as_left = {c for c in step.clips if step.tag != WRONG_LABEL or now.get(c, "") == set_to.get(c, "")}
        _switch(connection, [clip for clip in step.tagged if clip in as_left], step.tag, on=False)
        _switch(connection, step.untagged, step.tag, on=True)
        before = {clip: label for clip, (label, _) in step.right_labels.items() if clip in as_left - set(step.tagged)}
        _say_labels(connection, before)


def _switch(connection: sqlite3.Connection, clip_ids: Sequence[str], tag: str, *, on: bool) -> tuple[str, ...]:
    """Give or take a tag; the clips of which that changes anything."""
    of_clip = _by_clip(changes_in(connection))
    changed = tuple(clip for clip in dict.fromkeys(clip_ids) if (tag in _tags(of_clip.get(clip, []))) != on)
    for clip_id in changed:
        append_change(connection, clip_id, TAG if on else UNTAG, tag)
    return changed


def _say_labels(connection: sqlite3.Connection, labels: Mapping[str, str]) -> dict[str, str]:
    """The right labels before, of the clips of which they change."""
    now = _right_labels(changes_in(connection))
    before = {clip: now.get(clip, "") for clip, label in labels.items() if now.get(clip, "") != label}
    for clip_id in before:
        append_change(connection, clip_id, RIGHT_LABEL, labels[clip_id])
    return before


def _by_clip(changes: list[Change]) -> dict[str, list[Change]]:
    of_clip: dict[str, list[Change]] = {}
    for change in changes:
        of_clip.setdefault(change.clip_id, []).append(change)
    return of_clip


def _right_labels(changes: list[Change]) -> dict[str, str]:
    found = {clip: _right_label(of) for clip, of in _by_clip(changes).items()}
    return {clip: label for clip, label in found.items() if label}


def right_label_of(run: Run, clip_id: str) -> str:
    """The class that the clip shows, as somebody said who tagged it `WRONG_LABEL`; empty if nobody did."""
    return _right_label(read_changes(run, clip_id))


def note_of(run: Run, clip_id: str) -> Note:
    """The clip's note; `save_note` needs its version."""
    return _note(read_changes(run, clip_id))


def save_note(run: Run, clip_id: str, text: str, seen_version: int) -> Note:
    """Save the text of a user who saw `seen_version` of the note; an empty text removes the note.

    Raises:
        Conflict: the note has another version and text by now; `text` is kept in the history.
        UserError: the run has no such clip, the text is too long, or nothing can be written.
    """
    text = _without(text.replace("\r\n", "\n"), ("Cc", "Cs"), but="\n\t").rstrip()
    if len(text) > LONGEST_NOTE:
        raise UserError(f"A note has at most {LONGEST_NOTE:,} characters; this one has {len(text):,}.")
    with writing_notes(run, clip_id) as connection:
        current = _note(changes_in(connection, clip_id))
        if text == current.text:
            return current
        up_to_date = current.version == seen_version
        append_change(connection, clip_id, NOTE if up_to_date else ASIDE, text)
        saved = _note(changes_in(connection, clip_id))
    if not up_to_date:
        raise Conflict(current)
    return saved


def history_of(run: Run, clip_id: str) -> list[Change]:
    """All changes of the clip's notes and tags, the oldest first."""
    return read_changes(run, clip_id)


def notes_table(run: Run) -> pd.DataFrame:
    """A row per clip with a note or a tag, in its order: clip_id, tags (a list), right_label (empty if it is not said),
    note, changed (UTC, ISO 8601)."""
    of_clip = sorted(_by_clip(read_changes(run)).items())
    rows = [(clip, _tags(of), _right_label(of), _note(of).text, of[-1].changed) for clip, of in of_clip]
    columns = ["clip_id", "tags", "right_label", "note", "changed"]
    return pd.DataFrame([row for row in rows if row[1] or row[3]], columns=columns)


def tag_counts(run: Run) -> dict[str, int]:
    """The run's tags and on how many clips each is, the most used first."""
    counts = notes_table(run)["tags"].explode().value_counts().sort_index()
    return counts.sort_values(ascending=False, kind="stable").to_dict()


def clips_with(run: Run, tags: list[str]) -> set[str]:
    """The clips that have all of these tags; without tags, the clips that have a note or any tag."""
    table = notes_table(run)
    return {clip for clip, has in zip(table["clip_id"], table["tags"], strict=True) if set(tags) <= set(has)}
