"""The app's user may not read something: every page names it in a sentence, and shows what can be read."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from analysis.runs.damaged_parts import set_aside_damaged
from analysis.runs.run_directory import SHARD_KINDS, open_run, run_work
from sth_core.files import sha256, write_json
from sth_core.shards import Shards
from tests.test_app import CLIP, COMPARE, FIGURES, NOTES, PREDICTIONS, open_page, words
from tests.tiny import save_tiny, write_moving_video, write_run

NOBODY = 65534
ATTENTION, OWN = "workbench/pages/attention.py", "workbench/pages/own.py"
QUERIES: dict[str, dict[str, str]] = {
    ATTENTION: {}, PREDICTIONS: {"run": "first"}, CLIP: {"run": "first"}, COMPARE: {"a": "first", "b": "second"},
    FIGURES: {}, NOTES: {"run": "first"}, OWN: {},
}  # fmt: skip
# What may not be read, its mode, and on which pages which sentence names it.
UNREAD: dict[str, tuple[int, list[str], str]] = {
    "runs": (0, [CLIP, OWN], "/runs: Permission denied; "),
    "runs/first": (0, [ATTENTION, NOTES], "**first**: the folder cannot be read (Permission denied; "),
    "runs/first/": (0o444, [NOTES], "**first**: the folder cannot be read (Permission denied; "),
    "runs/first/run.json": (0, [*QUERIES], "**first**: run.json cannot be read (Permission denied; "),
    "runs/first/predictions": (0, [PREDICTIONS, OWN], "/runs/first/predictions: Permission denied; "),
    "runs/first/predictions/part-00001.parquet": (
        0,
        [ATTENTION, FIGURES],
        "predictions cannot be read (part-00001.parquet: Perm",
    ),
    "runs/first/predictions/": (0o444, [PREDICTIONS], "its predictions cannot be read (part-00000.parquet: Permission"),
    "runs/first/attention": (0, [COMPARE], "/runs/first/attention: Permission denied; "),
    "runs/first/attention/part-00001.parquet": (
        0,
        [ATTENTION, COMPARE],
        "attention cannot be read (part-00001.parquet: Perm",
    ),
    "runs/first/probes": (0, [PREDICTIONS], "/runs/first/probes: Permission denied; "),
    "runs/first/probes/part-00000.parquet": (0, [PREDICTIONS], "probes/part-00000.parquet: Permission denied; "),
    "runs/first/failures.parquet": (0, [PREDICTIONS], "failures.parquet cannot be read (Permission denied; "),
    "runs/first/notes.sqlite": (0, [PREDICTIONS, CLIP, NOTES], "/notes.sqlite cannot be read (Permission denied; "),
    "clips": (0, [CLIP], "/clips/clip.mp4: Permission denied"),
    "clips/clip.mp4": (0, [CLIP], "/clips/clip.mp4: "),
    "net": (0, [CLIP], "which cannot be read: {}/net/tiny.safetensors: Permission denied; "),
    "net/tiny.safetensors": (0, [CLIP, OWN], "/net/tiny.safetensors: Permission denied; "),
    "runs/.jobs": (0, [OWN], "A job is not listed: {}/runs/.jobs cannot be read (Permission denied; "),
    "runs/.jobs/one": (0, [OWN], "/one/job.json cannot be read (Permission denied; "),
    "runs/.jobs/one/log.txt": (0, [OWN], "/one/log.txt cannot be read (Permission denied; "),
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Two runs with all that belongs to them, in a folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    for name in ("clips", "net", "runs/.jobs/one"):
        (folder / name).mkdir(parents=True)
    video, net = write_moving_video(folder / "clips" / "clip.mp4", 8), save_tiny(folder / "net" / "tiny.safetensors")
    for name in ("first", "second"):
        known = {"checkpoint": str(net), "checkpoint_sha256": sha256(net)}
        run = write_run(folder / "runs" / name, [[0.5, 0.5]] * 4, parts=2, **known)
        for file in (run / "predictions").iterdir():
            pd.read_parquet(file).assign(path=str(video)).to_parquet(file)
    clips, kinds = [f"c{i}" for i in range(4)] * 3, ["plain"] * 4 + ["shuffled"] * 4 + ["reversed"] * 4
    probes = pd.DataFrame({"clip_id": clips, "probe": kinds, "repeat": 0, "label": ["a", "b"] * 6})
    (folder / "runs/first/probes").mkdir()
    probes = probes.assign(prediction="a", correct=True, score_label=0.5)
    probes.to_parquet(folder / "runs/first/probes/part-00000.parquet")
    nothing = pd.DataFrame({name: pd.Series(dtype=str) for name in ("clip_id", "path", "reason")})
    nothing.to_parquet(folder / "runs/first/failures.parquet")
    (folder / "runs/first/notes.sqlite").touch()
    process = {"pid": 1, "created": 0.0, "host": "another"}
    job = {"run": str(run), "command": ["sth"], "started": "2024-01-01T00:00:00+00:00", "process": process}
    write_json(folder / "runs/.jobs/one/job.json", job)
    (folder / "runs/.jobs/one/log.txt").write_text("it began\n")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    with pytest.MonkeyPatch.context() as patch:
        for page, query in QUERIES.items():  # imports what it needs, which may lie where only root reads
            open_page(folder / "runs", patch, page, **query)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def without_the_right(path: Path, mode: int) -> Iterator[None]:
    """The mode holds, also for root: this process is another user's meanwhile."""
    before, root = path.stat().st_mode, os.getuid() == 0
    path.chmod(mode)
    if root:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if root:
            os.setresuid(0, 0, 0)
        path.chmod(before)


@pytest.mark.parametrize("name", UNREAD)
def test_what_may_not_be_read_is_named_on_every_page(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mode, pages, sentence = UNREAD[name]
    for page in pages:
        with without_the_right(place / name, mode):
            app = open_page(place / "runs", monkeypatch, page, **QUERIES[page])
        said = words(app) + "\n".join(str(code.value) for code in app.code)
        assert sentence.format(place) in said, said
        assert said.count("Permission denied") <= 2, said  # a log is shown twice
        if name != "runs" and page in (ATTENTION, FIGURES):  # the other run
            assert app.get("plotly_chart")
    assert not open_page(place / "runs", monkeypatch, pages[0], **QUERIES[pages[0]]).error


def test_the_right_comes_back_while_the_page_is_open(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with without_the_right(place / "runs/first/predictions/part-00001.parquet", 0):
        app = open_page(place / "runs", monkeypatch, ATTENTION)
        assert "Permission denied" in words(app)
    app.run()
    assert "Permission denied" not in words(app) and app.multiselect[0].options == ["first", "second"]


def test_a_part_that_may_not_be_read_is_not_set_aside(place: Path) -> None:
    run = place / "runs" / "first"
    part = run / "predictions" / "part-00001.parquet"
    with without_the_right(part, 0), pytest.raises(PermissionError, match=part.name):
        set_aside_damaged(run_work(run, open_run(run).meta), Shards(run, SHARD_KINDS), print)
    assert part.is_file() and not (run / ".replaced-1").exists()
