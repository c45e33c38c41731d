"""One process writes into a folder, and what killed processes left there goes; another process's files stay."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torchvision.models import resnet18

from sth_core.errors import UserError
from sth_core.files import HOST, temporary_beside, write_json
from sth_core.outputs import remove_leftovers, writing_file, writing_into
from tests.test_stop_and_go import RECIPE
from tests.test_study import STUDY
from workbench.cli import main

HOLDING = """
import sys, time
from pathlib import Path
from sth_core.files import temporary_beside
from sth_core.outputs import locked, writing_file

out, kind = Path(sys.argv[1]), sys.argv[2]
with (locked(out) if kind == "folder" else writing_file(out)):
    with temporary_beside(out / "table.csv" if kind == "folder" else out) as temporary:
        temporary.write_text("half")
        print("holds", flush=True)
        time.sleep(100)
"""


def holding(out: Path, kind: str) -> subprocess.Popen[str]:
    """A process that writes there until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, out, kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "holds\n"
    return process


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_second_process_is_refused_and_a_killed_one_leaves_nothing(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    place, writing = (tmp_path, writing_into) if kind == "folder" else (out, writing_file)
    with holding(place, kind) as process:
        refused = pytest.raises(UserError, match=rf"another process .*; wait until .* \(process {process.pid} on ")
        with refused, writing(place):
            pass
        remove_leftovers(tmp_path)
        assert [file.suffixes[-2:] for file in tmp_path.glob(".*.part.csv")] == [[".part", ".csv"]]
        process.kill()
    with writing(place):
        assert {file.name for file in tmp_path.iterdir()} <= {".lock", ".table.lock"}
        write_json(out, 1)
    assert {file.name for file in tmp_path.iterdir()} == {"table.csv"}


@pytest.mark.parametrize(
    ("name", "seconds_old", "stays"),
    [
        (f".a.{HOST}.999999999.part.csv", 0, False),  # of no process
        (f".a.{HOST}.{{this}}.part.csv", 0, True),
        (f".a.{HOST}.{{this}}.part.csv", 10**9, False),  # of an earlier process with this number
        (".a.0aaaa0.1.part", 0, True),  # of another machine, where it may be written now
        (".a.0aaaa0.1.part", 10**6, False),
        ("a.0aaaa0.1.part", 10**6, True), (".a.part", 10**6, True), (f"{HOST}.1.part.csv", 0, True),  # of others
    ],
)  # fmt: skip
def test_which_files_are_leftovers(name: str, seconds_old: float, stays: bool, tmp_path: Path) -> None:
    name = name.format(this=os.getpid())
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (time.time() - seconds_old,) * 2)
    (tmp_path / f".b.{HOST}.999999999.part").mkdir()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name] * stays


def test_names_of_temporary_files_are_known(tmp_path: Path) -> None:
    for name in ("a", "a.b.csv", ".hidden", "a\nb.csv", "ä" * 120 + ".csv"):
        with temporary_beside(tmp_path / name) as temporary:
            temporary.touch()
            os.utime(temporary, (0, 0))
            remove_leftovers(tmp_path)
            assert not temporary.exists()
            temporary.touch()


COMMANDS = {
    "record": "record {network} --data {data} --device cpu -o {out}",
    "evaluate": "evaluate {network} --data {data} --device cpu -o {out}",
    "probe": "probe {network} --data {data} --device cpu -o {out}",
    "intervene": "intervene {network} --data {data} --device cpu -o {out}",
    "trust": "trust {network} --data {data} --device cpu -o {out} --split val",
    "synthesize": "data synthesize {out} --clips 1",
    "check": "data check {data} -o {out} --workers 1",
    "flow": "data flow {data} -o {out} --workers 1",
    "figures": "figures {run} -o {out}",
    "fuse": "fuse {run} {run} -o {out}",
    "cam": "cam {network} {data} --device cpu -o {out}",
    "demo": "demo --no-app -o {out}",
    "train": "train {recipe} --data {data} --device cpu -o {out}",
    "study": "study {study} --data {data} --device cpu -o {out}",
}
FILES = {
    "results": "results {run} --csv {out}",
    "notes": "notes {run} --csv {out}",
    "complexity": "complexity {recipe} --csv {out}",
    "import": "import {weights} {recipe} --classes {classes} -o {out} --set model.width=64 --set model.conv=2d",
    "cam": "cam {network} {clip} --device cpu -o {out}",
}


@pytest.fixture(scope="module")
def inputs(
    checkpoint: Path, scenes_folder: Path, recorded: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """{what it is: its path} of all that the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    (folder / "classes.txt").write_text("one\ntwo\n", encoding="utf-8")
    torch.save(resnet18(num_classes=2).state_dict(), folder / "weights.pth")
    made = {Path(name).stem: folder / name for name in ("recipe.toml", "study.toml", "classes.txt", "weights.pth")}
    clip = next(scenes_folder.glob("val/*.mp4"))
    return made | {"network": checkpoint, "data": scenes_folder, "run": recorded, "clip": clip}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_respects_the_lock_of_its_folder(name: str, inputs: dict[str, Path], tmp_path: Path) -> None:
    with holding(tmp_path, "folder") as process:
        answer = CliRunner().invoke(main, [word.format(**inputs, out=tmp_path) for word in COMMANDS[name].split()])
        process.kill()
    assert answer.exit_code == 2 and f"another process works in {tmp_path}" in answer.output, answer.output
    assert {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")} <= set()


@pytest.mark.parametrize("name", FILES)
def test_every_command_respects_the_lock_of_its_file(name: str, inputs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / {"import": "network.safetensors", "cam": "clip.mp4"}.get(name, "table.csv")
    with holding(out, "file") as process:
        answer = CliRunner().invoke(main, [word.format(**inputs, out=out) for word in FILES[name].split()])
        process.kill()
    assert answer.exit_code == 2 and f"another process writes {out}" in answer.output, answer.output
    assert not out.exists()
