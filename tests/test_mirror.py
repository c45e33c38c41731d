"""Runs of object storage as files of this machine: from a local S3 server, and from storage with odd names."""

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner

from analysis.runs import mirror as mirrors
from analysis.runs.mirror import INDEX, keep_fresh, mirror_at, mirror_of, nearest_mirror, refresh
from analysis.runs.notes import add_tag, tags_of
from analysis.runs.notes_file import why_not_kept
from analysis.runs.run_directory import find_runs, open_run, predictions
from analysis.runs.saved_views import save_view
from benchmarks.made_runs import make_run
from sth_core.errors import UserError
from tests.test_app import open_page, words
from tests.tiny import write_run
from workbench.cli import main

ALPHAS = [[0.4], [0.5], [0.6]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server on this machine."""
    moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="the extra [s3] is not installed")
    serving = moto.ThreadedMotoServer(port=0, verbose=False)
    serving.start()
    host, port = serving.get_host_and_port()
    yield f"http://{host}:{port}"
    serving.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Its empty bucket `lab`, of which nothing is fetched yet, with the credentials where users have them: in the
    environment."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of other tests, which have no credentials
    fs = fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)
    fs.mkdir("lab")
    yield fs
    fs.rm("lab", recursive=True)
    type(fs).clear_instance_cache()


def test_runs_in_s3_are_fetched_once_and_what_has_changed_again(s3: Any, tmp_path: Path) -> None:
    write_run(tmp_path / "one", ALPHAS, parts=2)
    write_run(tmp_path / "deep" / "it's two", ALPHAS)
    s3.put(str(tmp_path), "lab/runs", recursive=True)
    s3.pipe("lab/runs of others/run.json", b"{}")  # begins with the same letters
    mirror = mirror_of("s3://lab/runs/")
    seen: list[tuple[int, int, str]] = []
    assert refresh(mirror, lambda *said: seen.append(said)).files == 5 + 3
    assert seen[-1][:2] == (8, 8) and seen[-1][2].endswith("run.json")
    fetched = sorted(path.relative_to(mirror.folder) for path in mirror.folder.rglob("*") if path.is_file())
    there = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert [path for path in fetched if not path.name.startswith(".")] == there
    for path in there:
        assert (mirror.folder / path).read_bytes() == (tmp_path / path).read_bytes()
        assert not (mirror.folder / path).stat().st_mode & 0o222
    assert [run.name for run in find_runs(mirror.folder)] == ["it's two", "one"]

    assert refresh(mirror) == mirrors.Fetched(0, 0, ())
    (mirror.folder / "one" / "notes.sqlite").write_text("mine")
    s3.pipe("lab/runs/one/run.json", (tmp_path / "one" / "run.json").read_bytes().replace(b"resnet18", b"resnet50"))
    s3.rm("lab/runs/deep", recursive=True)
    assert refresh(mirror) == mirrors.Fetched(1, 3, ())
    [run] = find_runs(mirror.folder)
    assert run.meta["arch"] == "resnet50" and (run.path / "notes.sqlite").read_text() == "mine"


def test_every_command_that_reads_runs_reads_them_from_s3(s3: Any, tmp_path: Path, monkeypatch: Any) -> None:
    for seed, name in enumerate(("one", "two")):
        make_run(tmp_path / "runs" / name, 40, 5, 2, seed)
    s3.put(str(tmp_path / "runs"), "lab/runs", recursive=True)

    def said(*arguments: str) -> str:
        result = CliRunner().invoke(main, list(arguments))
        assert result.exit_code == 0, result.output
        return result.stdout + result.stderr

    from_s3, local = (said("results", runs).partition("Runs in ") for runs in ("s3://lab/runs", str(tmp_path / "runs")))
    assert from_s3[2].startswith("s3://lab/runs, %") and from_s3[2].count("│ one") == 1
    assert from_s3[2].partition("┏")[2] == local[2].partition("┏")[2]
    said("fuse", "s3://lab/runs/one", "s3://lab/runs/two", "-o", str(tmp_path / "fused"))
    assert len(predictions(open_run(tmp_path / "fused"))) == 40
    said("figures", "s3://lab/runs", "-o", str(tmp_path / "figures"))
    assert (tmp_path / "figures" / "index.html").stat().st_size > 1000
    served: list[Path] = []
    monkeypatch.setattr("workbench.serve.serve", lambda runs, *_, **__: served.append(runs))
    assert "8 files were fetched" in said("app", "s3://lab/runs")
    assert "0 files were fetched" in said("app", "s3://lab/runs")
    assert [run.name for run in find_runs(served[0])] == ["one", "two"] and served[0] == served[1]

    run = open_run(served[0] / "one")  # what the app adds to it is found by the other commands
    add_tag(run, predictions(run)["clip_id"].iloc[0], "blurry")
    save_view(served[0], "first look", "", "predictions", {})
    assert "1 clip with tags" in said("notes", "s3://lab/runs/one")
    assert "first look" in said("views", "s3://lab/runs")
    report = said("report", "s3://lab/runs", "-o", str(tmp_path / "report.html"), "--tag", "blurry", "--no-pdf")
    assert "cannot be read" not in report and "first look" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_notes_of_the_storage_never_replace_those_of_this_machine(s3: Any, tmp_path: Path) -> None:
    make_run(tmp_path / "one", 4, 2, 2, 0)
    first, *_ = clips = list(predictions(open_run(tmp_path / "one"))["clip_id"])
    add_tag(open_run(tmp_path / "one"), first, "theirs")
    s3.put(str(tmp_path / "one"), "lab/one", recursive=True)
    mirror = mirror_of("s3://lab/one")
    refresh(mirror)
    here = open_run(mirror.folder)
    assert tags_of(here, first) == ["theirs"] and why_not_kept(here) == ""
    add_tag(here, first, "mine")

    add_tag(open_run(tmp_path / "one"), clips[1], "later")
    s3.put(str(tmp_path / "one" / "notes.sqlite"), "lab/one/notes.sqlite")
    sentence = "notes.sqlite: it has changed there, and the notes on this machine are kept"
    assert refresh(mirror) == mirrors.Fetched(0, 0, (sentence,)) and tags_of(here, first) == ["theirs", "mine"]
    s3.rm("lab/one/notes.sqlite")
    assert refresh(mirror).left_out == () and tags_of(here, first) == ["theirs", "mine"]


def test_a_run_is_found_in_the_mirror_of_a_folder_above_it(s3: Any, tmp_path: Path) -> None:
    for name in ("deep/one", "deep/two"):
        write_run(tmp_path / name, ALPHAS)
    s3.put(str(tmp_path), "lab/runs", recursive=True)
    own = mirror_of("s3://lab/runs/deep/one")
    assert nearest_mirror("s3://lab/runs/deep/one") == (own, own.folder)  # there is none yet
    above = mirror_of("s3://lab/runs")
    refresh(above)
    assert nearest_mirror("s3://lab/runs/deep/one") == (above, above.folder / "deep" / "one")
    refresh(own)
    assert nearest_mirror("s3://lab/runs/deep/one/") == (own, own.folder)
    assert nearest_mirror(tmp_path) is None


def test_the_app_says_whence_its_runs_are_and_what_stays_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store(tmp_path, "memory://said/runs")
    mirror = mirror_of("memory://said/runs")
    refresh(mirror)
    shown = words(open_page(mirror.folder, monkeypatch, "workbench/pages/runs.py"))
    assert "Fetched from memory" in shown and "stay on this machine" in shown
    assert mirror_at(tmp_path) is None and mirror_of(tmp_path) is None


def store(tmp_path: Path, url: str) -> Any:
    fs = fsspec.filesystem("memory")
    fs.put(str(write_run(tmp_path / "run", ALPHAS)), f"{url}/run", recursive=True)
    return fs


def test_no_name_in_the_storage_leads_out_of_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = store(tmp_path, "memory://odd/runs")

    def find(_: Any, root: str, detail: bool) -> dict[str, dict]:
        """All names as they are stored: fsspec before 2026.7 lists some of these under another name, or not."""
        return {name: {"type": "file", "size": len(file.getvalue())} for name, file in fs.store.items() if root in name}

    monkeypatch.setattr(type(fs), "find", find)
    names = ["run/../../../out", "run/a/../b", "run/c\nd", "run/back\\slash", "run//double"]
    for name in [*names, "run/.hidden", "run/.replaced/run.json", "beside.mp4"]:
        fs.store[f"/odd/runs/{name}"] = type(fs.store["/odd/runs/run/run.json"])(fs, f"/odd/runs/{name}", b"x")
    mirror = mirror_of("memory://odd/runs")
    fetched = refresh(mirror)
    assert fetched.files == 3 and len(fetched.left_out) == len(names)
    fs.store["/odd/runs/run/run.json/below"] = fs.store["/odd/runs/run/.hidden"]
    assert "run/run.json/below: it lies below a file" in mirrors.listing(mirror.url)[2]
    files = {str(path.relative_to(mirror.folder)) for path in mirror.folder.rglob("*") if path.is_file()}
    parts = {f"run/{kind}/part-00000.parquet" for kind in ("attention", "predictions")}
    assert files == {"run/run.json", *parts, INDEX, ".lock"}


def test_what_was_interrupted_goes_on_and_a_run_appears_when_its_tables_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs = store(tmp_path, "memory://cut/runs")
    mirror = mirror_of("memory://cut/runs")
    monkeypatch.setattr(mirrors, "AT_ONCE", 1)
    get, calls = type(fs).get, []

    def cut(self: Any, names: list[str], to: list[str]) -> None:
        calls.extend(names)
        if len(calls) == 2:
            raise KeyboardInterrupt
        get(self, names, to)

    monkeypatch.setattr(type(fs), "get", cut)
    with pytest.raises(KeyboardInterrupt):
        refresh(mirror)
    assert len(mirror.index["files"]) == 1 and find_runs(mirror.folder) == []
    assert refresh(mirror).files == 2 and len(calls) == 4 and calls[-1].endswith("run.json")
    assert len(find_runs(mirror.folder)) == 1


MISTAKES = [
    ("memory://empty", "holds no run; a run is a folder with a run.json"),
    ("s3://nowhere/runs", "cannot be read|no run"),
]


@pytest.mark.parametrize(("url", "sentence"), MISTAKES)
def test_storage_without_runs_is_a_sentence(url: str, sentence: str, s3: Any) -> None:
    with pytest.raises(UserError, match=sentence):
        refresh(mirror_of(url))


def test_without_room_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path, "memory://big/runs")
    mirror = mirror_of("memory://big/runs")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("", (), {"free": 10})())
    with pytest.raises(UserError, match=r"MB to fetch, and 0 MB are free in .*; free some, or set XDG_CACHE_HOME"):
        refresh(mirror)
    assert find_runs(mirror.folder) == []


def test_in_the_background_it_is_compared_again_and_a_failure_is_said(tmp_path: Path) -> None:
    fs = store(tmp_path, "memory://fresh/runs")
    mirror, said = mirror_of("memory://fresh/runs"), queue.Queue[str]()
    refresh(mirror)
    fs.rm("/fresh/runs", recursive=True)
    stop = keep_fresh(mirror, 0.01, said.put)
    assert "holds no run" in said.get(timeout=60)
    stop.set()
    assert json.loads((mirror.folder / INDEX).read_text())["url"] == "memory://fresh/runs"
