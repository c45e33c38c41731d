"""The videos, folders of frames and folders of flow below a dataset's folder, found by name."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from sth_core.video.decoding import VIDEO_SUFFIXES
from sth_core.video.images import NUMBERED, is_flow

FLOW_FOLDER = "flow"


class Media:
    """All videos and folders of frames below a folder, which is listed once.

    A folder of numbered images is a clip, and is not searched further. Names that begin with a dot are ignored.
    """

    def __init__(self, folder: Path, flow: Path | None = None) -> None:
        """All images in the folder `flow` are flow, whatever their names."""
        self.folder = folder
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        self.with_flow: set[Path] = set()  # folders of frames and of their flow
        for path, kind in sorted(walk(folder)):
            extracted = kind == "frames" and flow and flow != folder and path.is_relative_to(flow)
            if kind != "flow" and not extracted:
                self.by_name[path.stem if kind == "video" else path.name].append(path)
            if kind == "both":
                self.with_flow.add(path)

    def at(self, name: str) -> Path | None:
        """The video or folder of frames at a path below the folder."""
        path = self.folder / name
        return path if path.is_file() or (path.is_dir() and kind_of(path)) else None

    def find(self, name: str, *hints: str) -> Path | None:
        """The video or folder of frames whose path ends with `name`, whatever its suffix.

        Of several, the one with most of `hints` (a label, a split) among its folders.
        """
        if found := self.at(name):
            return found
        wanted = Path(name).parts[:-1]
        named = {*self.by_name.get(Path(name).name, ()), *self.by_name.get(Path(flow_name(name)).name, ())}
        matching = [path for path in sorted(named) if path.parts[-1 - len(wanted) : -1] == wanted]
        likely = {*hints, *(hint.replace(" ", "_") for hint in hints)}
        return max(matching, key=lambda path: len(likely & set(path.parts)), default=None)


def flow_name(clip_id: str) -> str:
    """The path of a clip's flow below the folder of flow."""
    return str(Path(clip_id).with_suffix("")) if is_video(Path(clip_id)) else clip_id


class Flow:
    """Folders of extracted flow, found by the clip's path or, if another program extracted it, by its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours = (folder / "flow.json").is_file()
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        for path, kind in sorted(walk(folder)) if folder.is_dir() else ():
            if kind != "video":
                self.by_name[path.name].append(path)

    def find(self, clip_id: str) -> str:
        """The folder of a clip's flow; empty if there is none."""
        direct = self.folder / flow_name(clip_id)
        found = self.by_name.get(direct.name, [])
        if direct in found:
            return str(direct)
        if not found and direct.name.isdigit():
            found = self.by_name.get(direct.name.zfill(6), [])  # TSM's flow of Something-Something V1
        return str(found[0]) if len(found) == 1 and not self.ours else ""


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def walk(folder: Path, top: bool = True) -> Iterator[tuple[Path, str]]:
    """Each video and each folder of numbered images, with its kind: "video", "frames", "flow" or "both".

    Images beside videos, or in the top folder, are no clip.
    """
    with os.scandir(folder) as entries:
        children = [entry for entry in entries if not entry.name.startswith(".")]
    kind = "" if top else _kind(entry.name for entry in children)
    if kind and not any(entry.name.lower().endswith(tuple(VIDEO_SUFFIXES)) for entry in children):
        yield folder, kind
        return
    for entry in children:
        if entry.is_dir():
            yield from walk(folder / entry.name, top=False)
        elif is_video(Path(entry.name)):
            yield folder / entry.name, "video"


def kind_of(folder: Path) -> str:
    """The kind of a folder's numbered images: "frames", "flow", "both", or "" without any."""
    with os.scandir(folder) as entries:
        return _kind(entry.name for entry in entries)


def _kind(names: Iterator[str]) -> str:
    matches = filter(None, map(NUMBERED.fullmatch, names))
    kinds = {"flow" if is_flow(match["prefix"]) else "frames" for match in matches}
    return "both" if len(kinds) == 2 else "".join(kinds)
