"""axe-core on every page of the app, in both themes: nothing serious or critical, headings in order, names of links."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page

from benchmarks.browser import serving, settle
from docs.screenshots import pages

pytestmark = [pytest.mark.browser, pytest.mark.long]
PAGES = pages("appearance-rgb-p4", "appearance-flow-p4", "")
REFUSED = ("serious", "critical")
ALSO = ("heading-order", "page-has-heading-one", "region", "link-name", "identical-links-same-purpose")
# Rules of less weight that Streamlit's own markup breaks, which the app cannot change:
# empty-table-header (st.dataframe gives the column of links to clips no heading), presentation-role-conflict
# (st.file_uploader's drop zone).


@pytest.fixture(scope="module", params=["light", "dark"])
def themed(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    scheme: Any = request.param
    context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def served(experiments: Path) -> Iterator[str]:
    with serving(experiments) as (address, _):
        yield address


def violations(page: Page) -> dict[str, list[str]]:
    """{rule (impact): where} of what axe-core finds; a chart of Plotly is one picture with a description."""
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    return {
        f"{rule['id']} ({rule['impact']})": [node["html"][:200] for node in rule["nodes"]]
        for rule in found
        if rule["impact"] in REFUSED or rule["id"] in ALSO
    }


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(name: str, themed: Page, address: str) -> None:
    themed.goto(f"{address}/{PAGES[name]}")
    themed.wait_for_selector("[data-testid=stMainBlockContainer] h1")
    settle(themed)
    themed.wait_for_timeout(500)  # charts
    assert violations(themed) == {}
    assert themed.title().endswith(" · STH Workbench") and len(themed.title()) > len(" · STH Workbench")
    links = themed.locator("[data-testid=stMain] a").evaluate_all("all => all.map(a => [a.innerText, a.href])")
    names = Counter(text for text, href in set(map(tuple, links)) if text.strip())
    assert [text for text, n in names.items() if n > 1] == []  # of two links with one name, nobody knows which is which


@pytest.mark.parametrize("view", ["Probes", "Interventions", "Trust"])
def test_axe_finds_nothing_serious_in_results_of_experiments(view: str, themed: Page, served: str) -> None:
    themed.goto(f"{served}/experiments?run=tiny&experiment={view}")
    themed.wait_for_selector("[data-testid=stPlotlyChart]")
    settle(themed)
    themed.wait_for_timeout(500)
    assert violations(themed) == {}


def test_the_focus_is_seen(themed: Page, address: str) -> None:
    themed.goto(f"{address}/compare")
    themed.wait_for_selector("[data-testid=stMainBlockContainer] h1")
    settle(themed)
    seen, unseen = 0, []
    for _ in range(25):
        themed.keyboard.press("Tab")
        tag, style, box = themed.evaluate(
            "(e => [e.outerHTML.slice(0, 150), getComputedStyle(e).outlineStyle, getComputedStyle(e).boxShadow])"
            "(document.activeElement)"
        )
        seen += 1
        if style == "none" and box == "none":
            unseen.append(tag)
    assert seen == 25 and unseen == []
