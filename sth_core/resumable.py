"""Work that writes into a folder, can be interrupted at any moment, and is resumed by the same call.

    FOLDER/FILE.json                    the work's identity, facts about it, and its provenance
    FOLDER/KIND/part-00000.parquet      shards (`sth_core.shards`): what was computed of some clips
    FOLDER/.lock                        held while a process works in the folder
    FOLDER/.replaced-1/                 what `overwrite` moved out of the way

A folder that holds one piece of work is never overwritten by another: `working_on` refuses it.
"""

import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

from sth_core.errors import OtherWork, UserError, first_few, shorten
from sth_core.files import read_object, sync, write_json
from sth_core.outputs import LOCK, locked, writing_into

PACKAGES = ("sth-workbench", "torch", "numpy", "av", "opencv-contrib-python-headless")
TOGETHER = " + "  # between the devices of work that went on on another one
Json = dict[str, Any]


def no_report(*_: object) -> None:
    """Reports nothing."""


@dataclass(frozen=True)
class Work:
    """A piece of work in `folder`, described by `file` (a name) there.

    Two calls whose `identity` (a JSON value) is equal are the same work. `defaults` are the values, by dotted key, of
    what files of earlier versions lack. A difference in the dotted keys `adjustable` alone is no other work for a
    caller that asks to resume. `explained` says in words how values of dotted keys differ, if they do; empty: another
    key says it. `owned` are patterns of the paths in `folder` that the work writes, hidden ones apart.
    """

    folder: Path
    file: str
    noun: str  # as messages name it: "recording"
    identity: Json
    owned: tuple[str, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    adjustable: frozenset[str] = frozenset()
    explained: Mapping[str, str] = field(default_factory=dict)

    def differences(self, earlier: Json) -> dict[str, tuple[Any, Any]]:
        """{dotted key: (value in `earlier`, value now)} of all that differs."""
        before, now = dict(self.defaults) | flatten_keys(earlier), flatten_keys(self.identity)
        return {key: (before.get(key), now[key]) for key in now if key not in before or before[key] != now[key]}

    def existing(self) -> list[Path]:
        """What the folder holds of this kind of work: files, and folders that are not empty."""
        found = {path for pattern in (self.file, *self.owned) for path in self.folder.glob(pattern)}
        seen = (path for path in found if not path.name.startswith("."))
        return sorted(path for path in seen if path.is_file() or any(path.iterdir()))


def flatten_keys(value: Json) -> Json:
    """{"a": {"b": 1}} -> {"a.b": 1}, with values as JSON gives them back."""
    flat: Json = {}
    for key, of_key in json.loads(json.dumps(value)).items():
        nested = flatten_keys(of_key) if isinstance(of_key, dict) else {}
        flat |= {f"{key}.{name}": leaf for name, leaf in nested.items()} or {key: of_key}
    return flat


@contextmanager
def working_on(
    work: Work,
    facts: Json | None = None,
    *,
    command: str = "",
    overwrite: bool = False,
    resume: bool = False,
    notify: Callable[[str], None] = no_report,
) -> Iterator[Json]:
    """While the block runs, no other process works in the folder; yields what the work's file says.

    The file holds `facts` (to a "device" among them those of earlier calls are added), the identity and the provenance;
    `finished` is set, and what the block added is written, when the block ends without an exception. Equal work that
    was begun earlier is resumed. `overwrite` moves whatever is there to FOLDER/.replaced-N first, and tells `notify`;
    `resume` accepts other values of `work.adjustable`.
    Raises UserError: the folder holds other work, its file is damaged, or another process works there."""
    work.folder.mkdir(parents=True, exist_ok=True)
    with locked(work.folder), writing_into(work.folder, *work.owned):
        if overwrite and (replaced := move_aside(work)):
            notify(f"the earlier {work.noun} was moved to {replaced}")
        earlier = read_earlier(work, resume)
        meta = (facts or {}) | work.identity | provenance(command)
        if isinstance(started := earlier.get("started"), str):
            meta["started"] = started
        if isinstance(before := earlier.get("device"), str) and "device" in meta:
            meta["device"] = TOGETHER.join(dict.fromkeys([*before.split(TOGETHER), meta["device"]]))
        write_json(work.folder / work.file, meta)
        sync(work.folder)
        sync(work.folder.parent)
        yield meta
        write_json(work.folder / work.file, meta | {"finished": utc_now()})


def move_aside(work: Work) -> Path | None:
    """Move all that the work's folder holds of this kind to FOLDER/.replaced-N, which is returned; None if nothing."""
    found = work.existing()
    if not found:
        return None
    for path in found:
        if (path / LOCK).is_file():
            with locked(path):
                pass  # no other process works there
    target = replaced_folder(work.folder)
    for path in found:
        moved = target / path.relative_to(work.folder)
        moved.parent.mkdir(parents=True, exist_ok=True)
        path.rename(moved)
    sync(target)
    return target


def replaced_folder(folder: Path) -> Path:
    """The first FOLDER/.replaced-N that does not exist."""
    return next(path for n in count(1) if not (path := folder / f".replaced-{n}").exists())


def read_earlier(work: Work, resume: bool = False) -> Json:
    """What the work's file says, if it was begun earlier; else nothing.
    Raises UserError: the folder holds other work, or it cannot be known what it holds."""
    file = work.folder / work.file
    ways = f"choose another folder, or give --overwrite, which moves it to {work.folder / '.replaced-N'}"
    if not file.is_file():
        if found := work.existing():
            names = first_few([str(path.relative_to(work.folder)) for path in found])
            raise OtherWork(f"{work.folder} holds {names} but no {work.file} that describes it", ways)
        return {}
    try:
        earlier = read_object(file)
    except UserError as error:
        raise OtherWork(str(error), ways) from error
    differences = work.differences(earlier)
    adjusted = differences.keys() <= work.adjustable
    if differences and not (resume and adjusted):
        plain = {key: f"{key} is {shorten(old)}, now {shorten(new)}" for key, (old, new) in differences.items()}
        listed = "; ".join(said for key in plain if (said := work.explained.get(key, plain[key])))
        offered = "give --resume to continue it with the new value, " if adjusted else ""
        raise OtherWork(f"{work.folder} holds another {work.noun} ({listed})", offered + ways)
    return earlier


def provenance(command: str) -> Json:
    """By what the work is done and since when; `finished` is not known yet."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            # As the module says it, if it is imported: the registered version may lack the build (+cpu).
            versions[name] = getattr(sys.modules.get(name), "__version__", None) or metadata.version(name)
    return {"versions": versions, "command": command, "started": utc_now(), "finished": None}


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
