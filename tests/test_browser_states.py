"""Each empty or broken state in a real Chromium: a sentence, never a traceback, and nobody's HTML."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from analysis.runs.notes import note_of, save_note
from analysis.runs.run_directory import open_run
from benchmarks.browser import serving, settle, until
from tests.test_app import edit
from tests.tiny import write_run

pytestmark = [pytest.mark.browser, pytest.mark.long]
EVIL = '<img src=x onerror="window.evil=1"><b>bold</b>'


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("states") / "runs"


@pytest.fixture(scope="module")
def served(demo: Path, runs: Path) -> Iterator[str]:
    """The app on a folder of runs in every bad state."""
    good = demo / "runs" / "appearance-rgb-p4"
    for name in ("gone", "moved", "unfinished"):
        shutil.copytree(good, runs / name)
    for part in (runs / "gone" / "predictions").glob("*.parquet"):
        table = pd.read_parquet(part)
        table.assign(path=table["path"].str.replace("/synthetic/", "/gone/", regex=False)).to_parquet(part)
    edit(runs / "moved", checkpoint="/nowhere/network.safetensors")
    edit(runs / "unfinished", finished=None)
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    evil = write_run(
        runs / EVIL.replace("/", "_"), [[0.5, 0.6], [0.4, 0.4], [0.5, 0.7]], classes=[EVIL, "a"], dataset=EVIL,
        checkpoint=EVIL,
    )  # fmt: skip
    for part in evil.glob("*/*.parquet"):
        table = pd.read_parquet(part)
        more = {"label": EVIL, "path": EVIL, "scores": [[0.6, 0.4]] * len(table)} if "label" in table else {}
        table.assign(clip_id=[f"{i} {EVIL}" for i in table["clip_id"]], **more).to_parquet(part)
    with serving(runs) as (address, _):
        yield address


def no_traceback(page: Page) -> None:
    settle(page)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    assert "Traceback" not in page.locator("body").inner_text()


def test_every_page_of_an_empty_folder_explains_what_to_do(page: Page, tmp_path: Path):
    with serving(tmp_path / "runs") as (address, _):
        for name in ("", "predictions", "clip"):
            page.goto(f"{address}/{name}")
            expect(page.get_by_text("There are no runs in")).to_be_visible()
            no_traceback(page)
        page.goto(f"{address}/own")
        expect(page.get_by_role("textbox", name="Checkpoint (.safetensors)")).to_be_visible()
        no_traceback(page)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "run.json cannot be read"),
        ("predictions?run=unfinished", "recording has not finished"),
        ("predictions?run=nothing", "names a run that does not exist: nothing"),
        ("predictions?run=moved&label=no+class", "clips match"),
        ("predictions?run=moved&search=no+such+clip", "No misclassified clip matches these filters"),
        ("clip?run=gone", "has been moved, deleted or damaged"),
        ("clip?run=moved", "no longer exists"),
        ("clip?run=moved&clip=nothing", "names a clip that does not exist: nothing"),
        ("compare?a=gone&b=gone", "are the same run"),
        ("notes?run=moved", "has a tag or a note yet"),
    ],
)
def test_broken_and_missing_things_show_a_message(query: str, sentence: str, tab: Page, served: str):
    tab.goto(f"{served}/{query}")
    expect(tab.get_by_text(sentence).first).to_be_visible()
    no_traceback(tab)


def test_names_are_never_rendered_as_html(tab: Page, served: str):
    run = EVIL.replace("/", "_")
    for name, query in (
        ("", {}), ("predictions", {"run": run, "view": "Per class"}), ("predictions", {"run": run, "label": EVIL}),
        ("predictions", {"run": run, "view": "Confusion"}), ("compare", {"a": run, "b": "gone"}),
        ("clip", {"run": run}),
    ):  # fmt: skip
        tab.goto(f"{served}/{name}?{'&'.join(f'{key}={quoted(value)}' for key, value in query.items())}")
        no_traceback(tab)
        tab.wait_for_timeout(300)
        assert tab.locator("img[src=x]").count() == 0 and tab.evaluate("window.evil") is None
        assert tab.locator("b", has_text=re.compile("^bold$")).count() == 0
        assert tab.locator("tspan", has_text=re.compile("^bold$")).count() == 0  # Plotly's own bold


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def note_box(page: Page) -> Locator:
    settle(page)
    box = page.get_by_role("textbox", name="Note", exact=True)
    if not box.is_visible():
        page.get_by_text("Tags and notes").click()
    expect(box).to_be_visible()
    return box


def test_a_typed_note_is_kept_until_it_is_saved(page: Page, served: str, runs: Path):
    clip = f"{served}/clip?run=gone&clip=val%2F0001_00007.mp4"
    leave: dict[str, Callable[[], object]] = {
        "by a link": lambda: page.get_by_role("link", name="Notes", exact=True).click(),
        "by a closed tab": lambda: page.goto("about:blank"),
    }
    page.goto(f"{served}/notes?run=gone")
    typed = ""
    for how, go in leave.items():
        page.goto(clip)
        expect(note_box(page)).to_have_value(typed)
        typed = f"left {how}"
        note_box(page).fill(typed)
        go()
    page.goto(clip)
    expect(note_box(page)).to_have_value(typed)
    save_note(open_run(runs / "gone"), "val/0001_00007.mp4", "another's", 0)
    page.reload()
    expect(note_box(page)).to_have_value(typed)
    settle(page)  # a click while the page is drawn anew meets a button that is gone
    page.get_by_role("button", name="Save the note").click()
    expect(page.get_by_text("Somebody saved another text")).to_be_visible()
    settle(page)
    page.get_by_role("button", name="Save the note").click()
    expect(page.get_by_text("The note is saved.")).to_be_visible()
    until(page, "Object.keys(localStorage).filter(key => key.startsWith('sth note')).length === 0")
    assert note_of(open_run(runs / "gone"), "val/0001_00007.mp4").text == typed
