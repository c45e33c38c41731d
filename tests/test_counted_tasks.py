"""Twelve things that people do in the app, each done in a real Chromium in the clicks that docs/workbench.md states."""

import re
from pathlib import Path

import pandas as pd
import pypdfium2
import pytest
from playwright.sync_api import Locator, Page, expect

from benchmarks.browser import settle

pytestmark = [pytest.mark.browser, pytest.mark.long]
ROOT = Path(__file__).parent.parent
RUN = "motion-rgb-p4"


class Person:
    """Somebody who looks, clicks and presses keys; both are counted."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address, self.clicks = page, address, 0

    def open(self, page: str = "") -> None:
        """Where the task begins; an address that is typed or kept is no click."""
        self.page.goto(f"{self.address}/{page}")
        settle(self.page)

    def click(self, what: Locator, **where: object) -> None:
        settle(self.page)
        what.click(**where)  # type: ignore[arg-type]
        self.clicks += 1

    def press(self, key: str) -> None:
        settle(self.page)
        self.page.keyboard.press(key)
        self.clicks += 1

    def go(self, page: str) -> None:
        """By the list of pages at the left."""
        self.click(self.page.get_by_test_id("stSidebarNav").get_by_role("link", name=page, exact=True))
        self.sees(self.page.get_by_role("heading", name=page, exact=True))

    def choose(self, view: str) -> None:
        """A pressed one of several buttons."""
        self.click(self.page.get_by_role("radio", name=view, exact=True))

    def sees(self, what: Locator) -> None:
        expect(what.first).to_be_visible()

    def sees_text(self, text: str) -> None:
        self.sees(self.page.get_by_test_id("stMain").get_by_text(text))


def most_confident_mistake(person: Person) -> None:
    person.open()
    person.go("Predictions")
    person.click(person.page.get_by_role("link", name="Inspect").first)
    person.sees(person.page.get_by_role("heading", name="Grad-CAM over time"))
    frame = person.page.locator(".scrubber[data-frame]")
    person.sees(frame)
    curve = "s => { const v = s.view.views[0], c = v.curves[0].values; return v.inputs[c.indexOf(Math.max(...c))] }"
    assert frame.evaluate("s => Number(s.dataset.frame)") == frame.evaluate(curve)


def confusion_cell(person: Person) -> None:
    person.open("predictions?run=appearance-rgb-p4&view=Confusion")
    matrix = person.page.locator(".matrix[data-drawn]")
    expect(matrix).to_have_attribute("data-counts", "true")
    settle(person.page)  # what is above it no longer moves it
    x, y = matrix.evaluate(
        "m => { const d = m.view.data, k = d.label.findIndex((l, i) => l !== d.prediction[i]);"
        "return m.view.centre(d.label[k], d.prediction[k]) }"
    )
    person.click(matrix.locator("canvas"), position={"x": x, "y": y})
    expect(person.page.locator(".thumbnail").first).to_be_in_viewport(ratio=1)


def lost_clips(person: Person) -> None:
    person.open()
    person.go("Compare")
    person.click(person.page.get_by_role("radio", name="lost", exact=True))
    person.sees_text("lost, most confident predictions of B first")
    card = person.page.locator("[class*=st-key-card_of_compared]").first
    expect(card).to_contain_text(re.compile("A: .+B: ", re.DOTALL))


def column_pdf(person: Person) -> None:
    person.open()
    person.go("Figures")
    person.choose("column")
    person.sees_text("3.25 in")
    with person.page.expect_download() as download:
        person.click(person.page.get_by_role("button", name="PDF of Figure 5"))
    document = pypdfium2.PdfDocument(download.value.path())
    assert download.value.suggested_filename == "figure5_layers.pdf"
    assert document[0].get_size()[0] / 72 == pytest.approx(3.25, abs=0.01)


def tag_and_export(person: Person) -> None:
    person.open("predictions?run=appearance-flow-p4")
    page = person.page
    for i in range(5):
        person.click(page.locator(".thumbnail").nth(i))
    person.sees_text("5 clips ticked")
    person.click(page.get_by_role("radio", name="exclude", exact=True))
    person.sees_text("5 clips tagged")
    person.click(page.get_by_role("link", name="Export in Notes"))
    person.sees(page.get_by_role("heading", name="Notes", exact=True))
    with page.expect_download() as download:
        person.click(page.get_by_role("button", name="CSV", exact=True).first)
    assert len(pd.read_csv(download.value.path())) >= 5


def class_report(person: Person) -> None:
    person.open()
    person.go("Predictions")
    person.choose("Precision and recall")
    person.sees_text("F1")


def hypotheses(person: Person) -> None:
    person.open()
    person.go("Attention")
    person.choose("Hypotheses")
    person.sees_text("the paper")


def two_networks(person: Person) -> None:
    person.open("compare?a=appearance-rgb-p4&b=appearance-rgb-p2")
    person.click(person.page.get_by_role("link", name="Inspect").first)
    expect(person.page.locator(".picture")).to_have_count(2)


def reversed_frames(person: Person) -> None:
    person.open(f"clip?run={RUN}")
    person.sees(person.page.locator(".scrubber[data-frame]"))
    person.choose("reversed")
    person.sees_text("reversed")


def next_of_the_list(person: Person) -> None:
    person.open(f"clip?run={RUN}")
    person.sees_text("1 of ")
    person.press("j")
    person.sees_text("2 of ")


def mark_a_clip(person: Person) -> None:
    person.open(f"clip?run={RUN}")
    person.press("x")
    person.sees(person.page.locator(".st-key-mark_exclude button[kind=primary]"))


def unusual_clips(person: Person) -> None:
    person.open()
    person.go("Attention")
    person.choose("Unusual clips")
    person.sees(person.page.get_by_role("link", name="Inspect"))


TASKS = {  # what it is called in docs/workbench.md: how it is done, and the most clicks that it may take
    "Of the most confident mistake, the frame with the largest share of its Grad-CAM": (most_confident_mistake, 3),
    "The clips of a cell of the confusion matrix, without scrolling": (confusion_cell, 1),
    "The clips that only the first of two networks predicts correctly, with both answers": (lost_clips, 2),
    "Five clips tagged, and exported as CSV": (tag_and_export, 8),
    "Figure 5 as a PDF of a column's width": (column_pdf, 3),
    "Precision and recall of each class": (class_report, 2),
    "The paper's hypotheses, tested on these runs": (hypotheses, 2),
    "The clips whose attention differs most from their class's": (unusual_clips, 2),
    "A clip as two networks see it": (two_networks, 1),
    "What the network says if the frames come in reverse": (reversed_frames, 1),
    "The next clip of the list": (next_of_the_list, 1),
    "Exclude a clip": (mark_a_clip, 1),
}


def test_the_documentation_lists_these_tasks() -> None:
    assert list(documented_clicks()) == list(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_takes_the_clicks_that_are_stated(name: str, page: Page, own_address: str) -> None:
    do, most = TASKS[name]
    person = Person(page, own_address)
    do(person)
    assert person.clicks == documented_clicks()[name] <= most


def documented_clicks() -> dict[str, int]:
    text = (ROOT / "docs" / "workbench.md").read_text(encoding="utf-8")
    rows = text.split("task | clicks or keys |")[1].split("\n\n")[0].splitlines()[2:]
    return {task.strip(): int(clicks) for task, clicks in (row.strip("|").split("|")[-2:] for row in rows)}
