"""A dataset without annotation files: its folders are the splits and classes."""

from pathlib import Path

from sth_core.datasets.entries import SPLITS, Annotations, Entry
from sth_core.datasets.media import Media
from sth_core.datasets.splits import SPLIT_NAMES
from sth_core.errors import UserError


def class_folders(media: Media) -> Annotations:
    """<class>/clip, <split>/<class>/clip or, unlabelled, <split>/clip or clip; a clip is a video or folder of frames.

    A folder around all of it does not count. A clip that lies at another depth than the classes' is left out, which
    `media.left_out` then says. Raises UserError: folders in folders, of which either could be the classes."""
    clips = {path: path.relative_to(media.folder).parts for path in media.clips}
    while len({parts[0] for parts in clips.values() if len(parts) > 2}) == 1 and all(
        len(p) > 2 for p in clips.values()
    ):
        if split_of(next(iter(clips.values()))[0]):
            break
        clips = {path: parts[1:] for path, parts in clips.items()}
    layouts: dict[str, list[Path]] = {}
    for path, parts in clips.items():
        layouts.setdefault(layout(parts), []).append(path)
    of_classes = [path for path in layouts.get("split/clip", ()) if "class/clip" in layouts]
    layouts["class/clip"] = layouts.get("class/clip", []) + of_classes  # a class may be called "test"
    chosen = next((name for name in ("split/class/clip", "class/clip") if layouts.get(name)), "")
    if not chosen and layouts.get("deeper"):
        first = layouts["deeper"][0].relative_to(media.folder)
        raise UserError(
            f"{media.folder}: {first.parts[0]!r} or {first.parts[-2]!r} could be the class of {first}; arrange the "
            f"clips as CLASS/clip or train/CLASS/clip, or list them in a manifest.csv (path,label,split)"
        )
    taken = layouts[chosen] if chosen else [*layouts.get("split/clip", ()), *layouts.get("clip", ())]
    for path in clips.keys() - set(taken):
        media.left_out.paths[f"clip outside of {chosen.upper().replace('/CLIP', '')}"].append(path)
    entries = [entry_of(path, clips[path], chosen, media.folder) for path in taken]
    splits = [split for split in SPLITS if any(entry.split == split for entry in entries)]
    return Annotations(entries, split_from=f"the folders {', '.join(splits)}" if splits else "")


def layout(parts: tuple[str, ...]) -> str:
    if len(parts) == 1:
        return "clip"
    if split_of(parts[0]):
        return {2: "split/clip", 3: "split/class/clip"}.get(len(parts), "deeper")
    return "class/clip" if len(parts) == 2 else "deeper"


def entry_of(path: Path, parts: tuple[str, ...], chosen: str, folder: Path) -> Entry:
    name = path.relative_to(folder).as_posix()
    split = split_of(parts[0]) if chosen != "class/clip" and len(parts) > 1 else ""
    return Entry(name, name, parts[-2] if chosen else "", split, str(path), anywhere=False)


def split_of(name: str) -> str:
    return SPLIT_NAMES.get(name.lower(), "")
