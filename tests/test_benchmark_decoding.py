"""`sth benchmark decoding`, on clips as small as it makes them."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from benchmarks import decoding
from benchmarks.clips import CODECS, JPEG, encode, scene
from workbench.cli import main

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")  # by torchvision
TINY = ("--rounds", "1", "--frames", "4")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["benchmark", "decoding", *map(str, arguments)])


def tables(output: str) -> list[list[list[str]]]:
    """The rows of each markdown table, as cells, without its head."""
    found: list[list[list[str]]] = []
    before = ""
    for line in output.splitlines():
        if line.startswith("|"):
            if not before.startswith("|"):
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        before = line
    return [rows[2:] for rows in found]


@pytest.fixture(scope="module")
def printed() -> str:
    """Threads stand in for the processes, which take seconds to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "get_context", lambda _: threading)
        patch.setattr(decoding, "ProcessPoolExecutor", lambda n, _, initializer: ThreadPoolExecutor(n, "", initializer))
        result = run(*TINY, "--count", "2", "--length", "30")
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes take seconds to start."""
    monkeypatch.setattr(decoding, "workers_take_turns", lambda kinds, rounds: {})


def test_every_frame_that_sth_reads_is_right_in_every_kind_of_file(printed: str) -> None:
    readers, _ = tables(printed)
    right = {(kind, reader): frames for kind, reader, *_, frames in readers}
    for kind in (*CODECS, JPEG):
        assert right[kind, "sth"] == right[kind, "sth, first time"] == "8/8"


def test_readers_are_compared_by_their_speed(printed: str) -> None:
    readers, _ = tables(printed)
    kinds = {kind: [row[1] for row in readers if row[0] == kind] for kind in dict.fromkeys(row[0] for row in readers)}
    assert list(kinds) == [*CODECS, JPEG]
    assert kinds[JPEG] == ["sth", "sth, first time", "PIL", "torchvision.io.decode_jpeg"]
    for kind in CODECS:
        assert {"PyAV, in order", "PyAV, full decode", "PyAV, full decode, only these converted"} < set(kinds[kind])
    for _, reader, rate, cpu, ratio, _ in readers:
        assert float(rate) > 0 and float(cpu) > 0 and float(ratio.split()[0]) > 0
        assert reader != "sth" or ratio == "1.00 (1.00 to 1.00)"


def test_threads_and_processes_are_compared_by_their_number(printed: str) -> None:
    _, workers = tables(printed)
    assert [row[0] for row in workers] == [*CODECS, JPEG]
    for row in workers:
        t1, t2, threads, p1, p2, processes = map(float, row[1:])
        assert threads == pytest.approx(t2 / t1, rel=0.05) and processes == pytest.approx(p2 / p1, rel=0.05)


def test_the_clips_are_described(printed: str) -> None:
    for kind in (*CODECS, JPEG):
        assert f"- {kind}: 2 of 25 to 30 frames, 340 x 256" in printed
    assert "4 frames of a clip; " in printed and "median of 1 rounds" in printed


def test_ones_own_files_are_grouped_by_their_suffix(no_workers: None, tmp_path: Path) -> None:
    pictures = list(scene(12, seed=0))
    for name, kind in {"a.mp4": "H.264, mp4", "b.MP4": "H.264, mp4", "c.avi": "MPEG-4, AVI"}.items():
        encode(tmp_path / name, pictures, *CODECS[kind][1:])
    (tmp_path / "notes.txt").write_text("not a video")
    result = run(*TINY, "--clips", tmp_path)
    assert result.exit_code == 0, result.output
    readers, _ = tables(result.stdout)
    assert {row[0]: row[5] for row in readers if row[1] == "sth"} == {".avi": "4/4", ".mp4": "8/8"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "holds no video files"),
        (lambda folder: (folder.mkdir(), (folder / "a.mp4").write_bytes(b"letter")), "a.mp4: not a video"),
    ],
    ids=["missing", "empty", "garbage"],
)
def test_a_folder_without_clips_is_refused(make, message: str, tmp_path: Path) -> None:
    make(tmp_path / "clips")
    result = run(*TINY, "--clips", tmp_path / "clips")
    assert result.exit_code == 2
    assert message in result.stderr and str(tmp_path / "clips") in result.stderr


def test_a_reader_that_is_not_installed_is_left_out_and_one_that_fails_is_named(
    no_workers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self, *_: Any, **__: Any) -> None:
            raise RuntimeError("no")

    encode(tmp_path / "a.mp4", list(scene(8, seed=0)), *CODECS["H.264, mp4"][1:])
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    monkeypatch.setitem(sys.modules, "decord", type("decord", (), {"VideoReader": Broken}))
    result = run(*TINY, "--clips", tmp_path)
    assert result.exit_code == 0, result.output
    readers = {row[1]: row[2:] for row in tables(result.stdout)[0]}
    assert not [name for name in readers if "torchcodec" in name]
    assert "torchcodec is left out: not installed" in result.stdout
    assert readers["decord"] == ["-", "-", "-", "stops with an error"]


def test_what_it_learns_and_sets_is_gone_afterwards(
    no_workers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode(tmp_path / "a.avi", list(scene(8, seed=0)), *CODECS["MPEG-4, AVI"][1:])
    threads = torch.get_num_threads()
    for folder in (str(tmp_path / "cache"), None):
        monkeypatch.delenv("XDG_CACHE_HOME") if folder is None else monkeypatch.setenv("XDG_CACHE_HOME", folder)
        assert run(*TINY, "--clips", tmp_path).exit_code == 0
        assert os.environ.get("XDG_CACHE_HOME") == folder
    assert not (tmp_path / "cache").exists() and torch.get_num_threads() == threads


def test_the_clips_it_makes_move_as_real_ones_do() -> None:
    first, second = list(scene(2, seed=0))
    again = next(scene(1, seed=0))
    assert np.array_equal(first, again)
    flow = cv2.calcOpticalFlowFarneback(
        cv2.cvtColor(first, cv2.COLOR_RGB2GRAY), cv2.cvtColor(second, cv2.COLOR_RGB2GRAY),
        None, 0.5, 3, 15, 3, 5, 1.2, 0,
    )  # fmt: skip
    assert 0.2 < np.linalg.norm(flow, axis=-1).mean() < 10
