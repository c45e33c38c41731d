"""A real Chromium: bars, points and regions of plots open their clips."""

import re

import pytest
from playwright.sync_api import Page, expect

from benchmarks.browser import settle

pytestmark = [pytest.mark.browser, pytest.mark.long]
RUN = "appearance-rgb-p4"


def count_of(page: Page) -> int:
    text = page.get_by_text(re.compile(r"clips? of the selected part")).first
    expect(text).to_be_visible()
    settle(page)
    return int(re.match(r"([\d,]+) ", text.inner_text())[1].replace(",", ""))


def click_middle(page: Page, selector: str, which: int = 0) -> None:
    mark = page.locator(selector).nth(which)
    expect(mark).to_be_visible()
    mark.scroll_into_view_if_needed()
    settle(page)
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator(".hovertext").first).to_be_visible()
    page.mouse.down()
    page.mouse.up()


def test_a_bar_a_range_of_bars_and_a_region_of_points_open_their_clips(tab: Page, address: str):
    tab.goto(f"{address}/predictions?run={RUN}&view=Plot&x=label")
    click_middle(tab, ".barlayer .point")
    first = count_of(tab)
    expect(tab.locator(".thumbnail").first).to_be_visible()
    tab.locator("[data-title='Box Select']").click()
    tab.locator(".nsewdrag").first.scroll_into_view_if_needed()
    box = tab.locator(".nsewdrag").first.bounding_box()
    tab.mouse.move(box["x"] + 2, box["y"] + 30)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 5, steps=6)
    tab.mouse.up()
    expect(tab.get_by_text("60 clips of the selected part")).to_be_visible()
    assert 0 < first < 60
    tab.goto(f"{address}/predictions?run={RUN}&view=Plot&x=confidence&y=alpha_temporal")
    expect(tab.locator(".scatterlayer .point").first).to_be_visible()
    tab.locator(".nsewdrag").first.scroll_into_view_if_needed()
    settle(tab)
    box = tab.locator(".nsewdrag").first.bounding_box()
    left, top, right, bottom = box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]
    tab.mouse.move(left + 3, top + 3)
    tab.mouse.down()
    for x, y in ((right - 3, top + 3), (right - 3, bottom - 3), (left + 3, bottom - 3), (left + 3, top + 3)):
        tab.mouse.move(x, y, steps=5)
    tab.mouse.up()
    assert count_of(tab) >= 50


def test_a_click_beside_a_bar_opens_its_class(tab: Page, address: str):
    """The bar of a class that is never right has no length."""
    tab.goto(f"{address}/predictions?run=appearance-flow-p4&view=Per+class")
    lowest = tab.locator(".barlayer .point").first
    expect(lowest).to_be_attached()
    settle(tab)
    bar, plot = lowest.bounding_box(), tab.locator(".nsewdrag").first.bounding_box()
    assert bar["x"] + bar["width"] < plot["x"] + 0.5 * plot["width"]
    tab.mouse.move(plot["x"] + 0.6 * plot["width"], bar["y"] + bar["height"] / 2)
    expect(tab.locator(".hovertext").first).to_be_visible()
    tab.mouse.down()
    tab.mouse.up()
    expect(tab.get_by_text("5 clips, the misclassified first")).to_be_visible()


@pytest.mark.parametrize(
    ("view", "mark", "said"),
    [("Per+class", ".barlayer .point", "the misclassified first"), ("Calibration", ".scatterlayer .point", "% to ")],
)
def test_a_class_and_a_bin_open_their_clips(view: str, mark: str, said: str, tab: Page, address: str):
    tab.goto(f"{address}/predictions?run={RUN}&view={view}")
    click_middle(tab, mark)
    expect(tab.get_by_text(said).first).to_be_visible()
    expect(tab.locator(".thumbnail").first).to_be_in_viewport(ratio=1)


def test_a_layer_of_figure_5_opens_the_plot_of_its_clips(tab: Page, address: str):
    tab.goto(f"{address}/attention")
    click_middle(tab, ".scatterlayer .point", 7)  # α_T of the first layers is the same for all clips
    link = tab.get_by_role("link", name=re.compile(r"Clips of \S+ by α_T of layer")).first
    layer = link.inner_text().split()[-1]
    link.click()
    expect(tab.get_by_role("heading", name="Predictions")).to_be_visible()
    expect(tab.get_by_text("Click a bar")).to_be_visible()
    expect(tab.get_by_role("combobox", name="Horizontal")).to_have_value(re.compile(f"{re.escape(layer)}$"))


def test_a_cell_of_a_heat_map_opens_its_clips(tab: Page, address: str):
    tab.goto(f"{address}/attention?show=By+class&of={RUN}&runs={RUN}")
    click_middle(tab, ".scatterlayer .point", 9)
    expect(tab.get_by_role("link", name=re.compile(rf"Clips labelled \S.* of {RUN} by"))).to_be_visible()
    others = "&more=motion-rgb-p4&more=appearance-rgb-p8"
    tab.goto(f"{address}/compare?a={RUN}&b=appearance-rgb-p2{others}")
    click_middle(tab, ".scatterlayer .point", 1)
    expect(tab.get_by_role("combobox", name="B", exact=True)).not_to_have_value("appearance-rgb-p2")
