"""The videos, folders of frames and folders of flow below a dataset's folder, found by name."""

import hashlib
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from sth_core.datasets.blanks import BLANK
from sth_core.errors import first_few
from sth_core.video.decoding import VIDEO_SUFFIXES
from sth_core.video.images import IMAGE_SUFFIXES, NUMBERED, is_flow

FLOW_FOLDER = "flow"
DEEPEST = 100  # folders, one in the other
MOST_LINKS = 3  # to folders, one below the other: folders full of links to each other would have no end


@dataclass
class LeftOut:
    """What lies below a folder and is no clip: {why, in the singular: paths}, and files that are no media."""

    paths: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    other_files: list[Path] = field(default_factory=list)

    def sentences(self, folder: Path, used: Iterable[Path] = ()) -> list[str]:
        """One for each reason, with the number of files and the names of the first; `used` files are not other ones."""
        found = [f"{counted(len(p), why)} ({first_names(p, folder)})" for why, p in sorted(self.paths.items())]
        others = set(self.other_files) - set(used)
        if suffixes := Counter(path.suffix.lower() or "without a suffix" for path in others):
            listed = first_few([f"{number} {suffix}" for suffix, number in suffixes.most_common()])
            found.append(f"{counted(len(others), 'file of another kind')} ({listed})")
        return found


def counted(number: int, noun: str) -> str:
    """ "1 video beside folders", "2 videos beside folders": the plural ends the first word with an s."""
    first, *rest = noun.split(" ")
    plural = f"{first}es" if first == "class" else f"{first}s"
    return " ".join((f"{number:,}", first if number == 1 else plural, *rest))


def first_names(paths: list[Path], folder: Path) -> str:
    return first_few([printable(str(path.relative_to(folder))) for path in sorted(paths)])


def printable(name: str) -> str:
    """A file name as text; bytes that are not UTF-8 as \\xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def normalised_name(name: str) -> str:
    """The same for names that look the same: macOS stores an é as two characters (NFD), a list has it as one (NFC).

    Blanks around the name of a file or folder do not count, as lists are read without them."""
    return "/".join([part.strip(BLANK) or part for part in unicodedata.normalize("NFC", name).split("/")])


class Media:
    """All videos and folders of frames below a folder, which is listed once.

    A folder of numbered images without clips below it is a clip. Names that begin with a dot are ignored. All else
    that is no clip is in `left_out`.
    """

    def __init__(self, folder: Path, flow: Path | None = None) -> None:
        """All images in the folder `flow` are flow, whatever their names."""
        self.folder = folder
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        self.with_flow: set[Path] = set()  # folders of frames and of their flow
        self.left_out = LeftOut()
        for path, kind in sorted(walk(folder, self.left_out)):
            extracted = kind == "frames" and flow and flow != folder and path.is_relative_to(flow)
            if kind != "flow" and not extracted:
                self.by_name[normalised_name(path.stem if kind == "video" else path.name)].append(path)
            if kind == "both":
                self.with_flow.add(path)

    @property
    def clips(self) -> list[Path]:
        return sorted(path for paths in self.by_name.values() for path in paths)

    def leave_out(self, why: str, clips: Collection[Path]) -> None:
        """Note that these are not among the dataset's clips; `why` is in the singular."""
        if clips:
            self.left_out.paths[why] += clips

    def at(self, name: str) -> Path | None:
        """The video or folder of frames at a path below the folder."""
        path = self.folder / name
        try:
            return path if path.is_file() or (path.is_dir() and kind_of(path)) else None
        except OSError:  # the name is longer than a file's can be
            return None

    def find(self, name: str, *hints: str) -> Path | None:
        """The video or folder of frames whose path ends with `name`, whatever its suffix: the first of `find_all`."""
        return next(iter(self.find_all(name, *hints)), None)

    def find_all(self, name: str, *hints: str) -> list[Path]:
        """The videos and folders of frames whose path ends with `name`, whatever their suffix, or is `name`.

        Of several, those with most of `hints` (a label, a split) among their folders.
        """
        if found := self.at(name):
            return [found]
        wanted = [normalised_name(part) for part in Path(name).parts]
        ends = {normalised_name(Path(without_video_suffix(name)).name), *wanted[-1:]}
        named = {path for end in ends for path in self.by_name.get(end, ())}
        matching = [path for path in sorted(named) if normalised_parts(path)[-len(wanted) : -1] == wanted[:-1]]
        likely = {normalised_name(hint.replace(" ", by)) for hint in hints for by in (" ", "_")}
        fit = {path: len(likely & set(normalised_parts(path))) for path in matching}
        return [path for path in matching if fit[path] == max(fit.values())]


def normalised_parts(path: Path) -> list[str]:
    return [normalised_name(part) for part in path.parts]


def without_video_suffix(name: str) -> str:
    return str(Path(name).with_suffix("")) if is_video(Path(name)) else name


def flow_name(name: str) -> str:
    """The path of a video's flow below the folder of flow; of a video outside of the dataset's folder its name with the
    first digits of its path's checksum."""
    path = Path(without_video_suffix(name))
    if path.is_absolute() or ".." in path.parts:
        return f"{path.name}_{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}"
    return str(path)


def video_names(clips: pd.DataFrame, folder: Path) -> pd.Series:
    """The name of each clip's video, by which its flow is filed: all parts of a video, in both directions, have one.

    It is that of the clip that is the whole video or, of parts alone, the video's path below the dataset's folder.
    """
    whole = clips[clips["segment"].eq("") & clips["problem"].eq("") & ~clips["backward"]].drop_duplicates("path")
    names = dict(zip(whole["path"], whole["clip_id"], strict=True))
    below = str(folder.resolve()) + os.sep
    return clips["path"].map(lambda path: names.get(path) or Path(path.removeprefix(below)).as_posix())


class Flow:
    """Folders of extracted flow, found by the video's path or, if another program extracted it, by its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours = (folder / "flow.json").is_file()
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        for path, kind in sorted(walk(folder)) if folder.is_dir() else ():
            if kind != "video":
                self.by_name[path.name].append(path)

    def find(self, name: str) -> str:
        """The folder of a video's flow; empty if there is none."""
        if not self.by_name:
            return ""
        direct = self.folder / flow_name(name)
        found = self.by_name.get(direct.name, [])
        if direct in found:
            return str(direct)
        if not found and direct.name.isdigit():
            found = self.by_name.get(direct.name.zfill(6), [])  # TSM's flow of Something-Something V1
        return str(found[0]) if len(found) == 1 and not self.ours else ""


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def walk(folder: Path, left_out: LeftOut | None = None) -> list[tuple[Path, str]]:
    """Each video and each folder of numbered images, with its kind: "video", "frames", "flow" or "both".

    Images beside videos, beside folders with clips, or in the top folder, are no clip. What is none is added to
    `left_out`.
    """
    return _walk(folder, LeftOut() if left_out is None else left_out, ())


def _walk(
    folder: Path, left_out: LeftOut, above: tuple[tuple[int, int], ...], links: int = 0
) -> list[tuple[Path, str]]:
    if len(above) > DEEPEST or links > MOST_LINKS:
        left_out.paths["folder too deep" if len(above) > DEEPEST else "link below other links"].append(folder)
        return []
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            children = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        if not above:
            raise
        left_out.paths[f"folder that cannot be read, {error.strerror}"].append(folder)
        return []
    here = (status.st_dev, status.st_ino)
    if here in above:
        left_out.paths["link to a folder above it"].append(folder)
        return []
    found: list[tuple[Path, str]] = []
    videos, images = [], []
    for entry in children:
        path = folder / entry.name
        if entry.name != printable(entry.name):
            left_out.paths["name that is not UTF-8"].append(path)
        elif is_folder(entry):
            found += _walk(path, left_out, (*above, here), links + entry.is_symlink())
        elif is_video(path):
            videos.append(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        else:
            left_out.other_files.append(path)
    kind = _kind(path.name for path in images)
    if kind and above and not videos and all(of_sub == "flow" for _, of_sub in found):
        found.append((folder, kind))
        images = [path for path in images if not NUMBERED.fullmatch(path.name)]
    if images:
        left_out.paths["picture beside clips" if above else "picture in the folder itself"] += images
    return found + [(path, "video") for path in videos]


def is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def kind_of(folder: Path) -> str:
    """The kind of a folder's numbered images: "frames", "flow", "both", or "" without any."""
    with os.scandir(folder) as entries:
        return _kind(entry.name for entry in entries)


def _kind(names: Iterable[str]) -> str:
    matches = filter(None, map(NUMBERED.fullmatch, names))
    kinds = {"flow" if is_flow(match["prefix"]) else "frames" for match in matches}
    return "both" if len(kinds) == 2 else "".join(kinds)
