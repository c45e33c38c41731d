"""A dataset without annotation files: its folders are the splits and classes."""

from pathlib import Path

from sth_core.datasets.blanks import BLANK
from sth_core.datasets.entries import SPLITS, Annotations, Entry
from sth_core.datasets.media import Media
from sth_core.datasets.splits import SPLIT_NAMES
from sth_core.errors import UserError


def class_folders(media: Media) -> Annotations:
    """<class>/clip, <split>/<class>/clip or, unlabelled, <split>/clip or clip; a clip is a video or folder of frames.

    A folder around all of it does not count. A clip that lies at another depth than the classes' is left out, which
    `media.left_out` then says. Raises UserError: folders in folders, of which either could be the classes."""
    names = {path: path.relative_to(media.folder).parts for path in media.clips}
    around = folders_around(list(names.values()))
    clips = {path: parts[around:] for path, parts in names.items()}
    layouts: dict[str, list[Path]] = {}
    for path, parts in clips.items():
        layouts.setdefault(layout(parts), []).append(path)
    of_classes = [path for path in layouts.get("split/clip", ()) if "class/clip" in layouts]
    layouts["class/clip"] = layouts.get("class/clip", []) + of_classes  # a class may be called "test"
    chosen = next((name for name in ("split/class/clip", "class/clip") if layouts.get(name)), "")
    if not chosen and layouts.get("deeper"):
        first = names[layouts["deeper"][0]]
        raise UserError(
            f"{media.folder}: {first[around]!r} or {first[-2]!r} could be the class of {'/'.join(first)}; arrange the "
            f"clips as CLASS/clip or train/CLASS/clip, or list them in a manifest.csv (path,label,split)"
        )
    taken = layouts[chosen] if chosen else [*layouts.get("split/clip", ()), *layouts.get("clip", ())]
    media.leave_out(f"clip outside of {chosen.upper().replace('/CLIP', '')}", clips.keys() - set(taken))
    entries = [entry_of(path, "/".join(names[path]), clips[path], chosen) for path in taken]
    blanks = {parts[-2] for path in taken if chosen and (parts := clips[path])[-2] != parts[-2].strip(BLANK)}
    notes = [f"blanks around the folder name {name!r} are not part of the class" for name in sorted(blanks)]
    splits = [split for split in SPLITS if any(entry.split == split for entry in entries)]
    return Annotations(entries, notes=tuple(notes), split_from=f"the folders {', '.join(splits)}" if splits else "")


def folders_around(clips: list[tuple[str, ...]]) -> int:
    """How many folders, one in the other, are around all clips, and are neither a split nor a class."""
    shallowest = min((len(parts) for parts in clips), default=0)
    for depth in range(shallowest - 2):
        if len({parts[depth] for parts in clips}) > 1 or split_of(clips[0][depth]):
            return depth
    return max(0, shallowest - 2)


def layout(parts: tuple[str, ...]) -> str:
    if len(parts) == 1:
        return "clip"
    if split_of(parts[0]):
        return {2: "split/clip", 3: "split/class/clip"}.get(len(parts), "deeper")
    return "class/clip" if len(parts) == 2 else "deeper"


def entry_of(path: Path, name: str, parts: tuple[str, ...], chosen: str) -> Entry:
    split = split_of(parts[0]) if chosen != "class/clip" and len(parts) > 1 else ""
    return Entry(name, name, parts[-2].strip(BLANK) if chosen else "", split, str(path), anywhere=False)


def split_of(name: str) -> str:
    return SPLIT_NAMES.get(name.lower(), "")
