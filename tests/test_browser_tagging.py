"""A real Chromium: clips of a gallery are ticked, tagged and exported, with few clicks and by keys."""

from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from analysis.runs.notes import EXCLUDED, WRONG_LABEL, notes_table, set_right_labels, tag_counts
from analysis.runs.run_directory import open_run
from benchmarks.browser import settle, until

pytestmark = [pytest.mark.browser, pytest.mark.long]
RUN = "appearance-flow-p4"  # of which many clips are misclassified


def ticked(page: Page, count: int) -> None:
    expect(page.get_by_text(f"{count} clips ticked")).to_be_visible()
    settle(page)


def test_five_clips_are_tagged_and_exported_in_eight_clicks(
    page: Page, own_address: str, own_runs: Path, tmp_path: Path
):
    clicks = 0

    def click(what: Locator) -> None:
        nonlocal clicks
        clicks += 1
        what.click()

    page.goto(f"{own_address}/predictions?run={RUN}")
    expect(page.locator(".thumbnail").nth(4)).to_be_visible()
    settle(page)
    for i in range(5):
        click(page.locator(".thumbnail").nth(i))
    ticked(page, 5)
    click(page.get_by_role("radio", name="wrong label", exact=True))
    expect(page.get_by_text("5 clips tagged")).to_be_visible()
    click(page.get_by_role("link", name="Export in Notes"))
    expect(page.get_by_role("heading", name="Notes", exact=True)).to_be_visible()
    settle(page)
    with page.expect_download() as download:
        click(page.get_by_role("button", name="CSV", exact=True).first)
    assert clicks <= 8
    download.value.save_as(tmp_path / "notes.csv")
    table = pd.read_csv(tmp_path / "notes.csv")
    assert len(table) == 5 and set(table["tags"]) == {WRONG_LABEL} and {"label", "prediction", "path"} <= {*table}
    expect(page.get_by_text("5 clips left out")).to_be_visible()  # nobody has said the right classes
    run = open_run(own_runs / RUN)
    set_right_labels(run, dict(zip(table["clip_id"], table["prediction"], strict=True)))
    page.reload()
    expect(page.get_by_text("5 labels corrected")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Corrected manifest").click()
    download.value.save_as(tmp_path / "manifest.csv")
    before, after = (pd.read_csv(path) for path in (Path(run.meta["data"]) / "manifest.csv", tmp_path / "manifest.csv"))
    assert list(after.columns) == list(before.columns) and len(after) == len(before)
    changed = before["path"][before["appearance"] != after["appearance"]]
    assert set(changed) == set(table["clip_id"]) and before["motion"].equals(after["motion"])


def test_with_shift_and_keys(page: Page, own_address: str, own_runs: Path):
    page.goto(f"{own_address}/predictions?run={RUN}&outcome=correct&view=Confusion")
    page.goto(f"{own_address}/predictions?run={RUN}")
    thumbnails = page.locator(".thumbnail")
    expect(thumbnails.nth(7)).to_be_visible()
    settle(page)
    boxes = page.locator("[class*=st-key-card_of_] input[type=checkbox]")
    count = boxes.count()
    thumbnails.nth(1).click()
    ticked_one = page.get_by_text("1 clip ticked")
    expect(ticked_one).to_be_visible()
    page.locator("[class*=st-key-card_of_] label").nth(6).click(modifiers=["Shift"])  # the box, not the picture
    ticked(page, 6)
    assert [boxes.nth(i).is_checked() for i in range(count)] == [1 <= i <= 6 for i in range(count)]
    thumbnails.nth(4).click(modifiers=["Shift"])
    ticked(page, 3)  # 4 to 6 are no longer ticked
    page.keyboard.press("x")
    expect(page.get_by_text("3 clips tagged")).to_be_visible()
    run = open_run(own_runs / RUN)
    until(page, "() => true")
    assert tag_counts(run)[EXCLUDED] == 3
    expect(page.get_by_text("clips ticked")).to_have_count(0)
    page.keyboard.press("u")
    ticked(page, 3)
    assert EXCLUDED not in tag_counts(run)
    page.keyboard.press("Escape")
    expect(page.get_by_text("clips ticked")).to_have_count(0)
    page.keyboard.press("a")
    ticked(page, count)
    settle(page)
    page.keyboard.press("t")
    expect(page.locator("input[type=text]:focus")).to_be_visible()
    page.keyboard.type("all of a page")
    expect(page.locator("input[type=text]:focus")).to_have_value("all of a page")
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"{count} clips tagged")).to_be_visible()
    assert len(notes_table(run)) >= count and tag_counts(run)["all of a page"] == count
    thumbnails.first.focus()
    page.keyboard.press("Space")
    expect(ticked_one).to_be_visible()
