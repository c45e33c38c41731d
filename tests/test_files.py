"""Files are whole or not there, no cell of a CSV file is a formula, and what the system refuses names its file."""

import errno
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from filelock import FileLock
from tensorboard.summary.writer.record_writer import RecordWriter

from analysis.explain.cam_video import write_video
from sth_core import files
from sth_core.checkpoint import save_checkpoint
from sth_core.errors import UserError
from sth_core.files import (
    WAYS,
    as_written,
    csv_text,
    inert,
    naming,
    read_csv,
    read_object,
    sha256,
    sync,
    system_sentence,
    temporary_beside,
    write_csv,
    write_json,
)
from sth_core.outputs import locked
from sth_core.shards import read_failures, write_table
from sth_core.training_board import training_board
from tests.tiny import CLASSES, RGB, tiny_network, write_moving_video
from workbench.cli import mistake
from workbench.cli.terminal import say

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "＝1",
    "'=1",
    "''",
    "'",
    "=",
    "\tx",
    "-2+3",
    "+x",
    "\n@a",
]
TEXTS = ["walk", "-", "-5", "+3.5e-7", ".5", "", "a=b", "ü", "a,b", 'a"b', "a\nb", "x'", "1/4", " "]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text_to_a_spreadsheet_and_comes_back(text: str) -> None:
    cell = inert(text)
    assert cell.startswith("'") and as_written(cell) == text


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts_stay(text: str) -> None:
    assert inert(text) == text and as_written(text) == text


def test_a_table_comes_back_and_its_numbers_are_numbers(tmp_path: Path) -> None:
    texts = FORMULAS + TEXTS
    table = pd.DataFrame({"=name": texts, "x": -np.arange(float(len(texts))), "kind": pd.Categorical(texts)})
    write_csv(tmp_path / "table.csv", table)
    back = read_csv(tmp_path / "table.csv")
    assert list(back["=name"]) == texts and list(back["kind"]) == texts
    assert list(pd.read_csv(tmp_path / "table.csv")["x"]) == list(table["x"])
    assert csv_text(table.head(2)).startswith("'=name,x,kind\n'=1+1,")


def test_a_name_of_255_bytes_is_written(tmp_path: Path) -> None:
    file = tmp_path / ("ü" * 125 + ".json")
    write_json(file, {"ü": 1})
    assert json.loads(file.read_text(encoding="utf-8")) == {"ü": 1} and list(tmp_path.iterdir()) == [file]


def noise(frames: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(0)
    return (random.integers(0, 255, (96, 96, 3), np.uint8) for _ in range(frames))


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: write_json(path, list(range(100_000))),
    "csv": lambda path: write_csv(path, pd.DataFrame({"a": np.arange(100_000)})),
    "parquet": lambda path: write_table(path, pd.DataFrame({"a": np.random.default_rng(0).random(100_000)})),
    "checkpoint": lambda path: save_checkpoint(path, tiny_network(), CLASSES, RGB),
    "video": lambda path: write_video(path, noise(60), 12),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_said_with_the_file(writer: str, tmp_path: Path) -> None:
    """The largest size of a file stands for the disk: the same calls fail in the same way."""
    path = tmp_path / ("out.mp4" if writer == "video" else "out")
    path.write_text("before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match=rf"cannot write {path} .*free there\); what was written before is kept"):
            WRITERS[writer](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO, errno.ESTALE, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace", "open", "mkdir"])
def test_what_the_system_refuses_names_the_file(
    code: int, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "out.json"

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os if call == "fsync" else Path, call, refuse)
    with pytest.raises(UserError) as said:
        write_json(path, 1)
    assert f"cannot write {path} ({os.strerror(code)}; {WAYS[code]}" in str(said.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"cannot be read \(Is a directory\)"), (b"", r"is damaged \("),
        (b"\xff", r"is damaged \("), (b"[1]", r"is damaged \(it holds \[1\], not a JSON object\)"),
        (b"[" * 9999, r"is damaged \("),
    ],
)  # fmt: skip
def test_a_json_file_that_cannot_be_read_is_no_damaged_one(content: bytes | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "work.json"
    file.mkdir() if content is None else file.write_bytes(content)
    with pytest.raises(UserError, match=f"^{file} {said}"):
        read_object(file)


def test_a_table_of_a_kind_that_pyarrow_does_not_know_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise pa.ArrowNotImplementedError("no such encoding")

    monkeypatch.setattr("sth_core.shards.read_shard", unknown)
    with pytest.raises(UserError, match=r"failures.parquet cannot be read \(no such encoding\)"):
        read_failures(tmp_path)


def test_reading_and_locking_name_the_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files.hashlib, "file_digest", refuse)
    monkeypatch.setattr(os, "fsync", refuse)
    for function in (sha256, sync):
        with pytest.raises(OSError, match="Input/output error") as said:
            function(tmp_path / "file")
        assert system_sentence(said.value).startswith(f"{tmp_path / 'file'}: Input/output error; check the disk")
    with pytest.raises(OSError, match="other") as said, naming(tmp_path / "file"):
        raise FileNotFoundError(errno.ENOENT, "No such file", "other")


def test_an_error_about_another_file_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="other"), temporary_beside(tmp_path / "out"):
        (tmp_path / "other").read_text()


def test_every_command_works_where_no_locale_is_set(tmp_path: Path) -> None:
    """LC_ALL=C without Python's UTF-8 mode, and a terminal of 128 characters."""
    write_moving_video(tmp_path / "ünï" / "gehën" / "日本.mp4", frames=8)
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "workbench", "data", "check", "ünï", "-o", "berïcht", "--workers", "1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    assert r"\xfcn\xef: 1 clip" in done.stdout.decode()
    table = read_csv(tmp_path / "berïcht" / "clips.csv")
    assert list(table["clip_id"]) == ["gehën/日本.mp4"] and list(table["label"]) == ["gehën"]


def test_what_tensorboard_cannot_write_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordWriter, "write", refuse)
    with pytest.raises(OSError, match="No space left") as said, training_board(tmp_path / "board", 0) as board:
        for step in range(1000):
            board("loss", 1.0, step)
            time.sleep(0.01)
    assert system_sentence(said.value).startswith(f"{tmp_path / 'board'}: No space left on device; free some space")
    assert "Traceback" not in capfd.readouterr().err


def test_a_full_standard_output_is_named_and_a_closed_one_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(click, "echo", refuse)
    with pytest.raises(OSError, match="No space left") as said:
        say("a line")
    assert mistake(said.value) == "the standard output: No space left on device; free some space there"
    assert mistake(BrokenPipeError(errno.EPIPE, "Broken pipe")) == ""


@pytest.mark.parametrize(
    ("error", "sentence"),
    [(OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)), "No locks available"), (NotImplementedError(), "has no locks")],
)
def test_a_folder_that_cannot_be_locked_is_named(
    error: Exception, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(UserError, match=f"cannot lock {tmp_path} .*{sentence}"), locked(tmp_path):
        pass
