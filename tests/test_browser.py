"""A real Chromium on the served app: from the misclassified clips to the Grad-CAM of one."""

import re
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.browser import settle, until

pytestmark = pytest.mark.browser


ALL_PAINTED = "selector => [...document.querySelectorAll(selector)].every(i => i.complete && i.naturalWidth > 0)"


def open_matrix(tab: Page, address: str) -> Locator:
    """The confusion matrix, once nothing above it moves it any more."""
    tab.goto(f"{address}/predictions?run=appearance-rgb-p4&view=Confusion")
    matrix = tab.locator(".matrix[data-drawn]")
    expect(matrix).to_be_visible()
    settle(tab)
    return matrix


def a_mistake(matrix: Locator) -> tuple[int, int, str, str]:
    """A cell of the confusion matrix off its diagonal: row, column, label, predicted class."""
    return matrix.evaluate(
        "m => { const d = m.view.data, k = d.label.findIndex((l, i) => l !== d.prediction[i]);"
        "return [d.label[k], d.prediction[k], d.names[d.label[k]], d.names[d.prediction[k]]] }"
    )


def test_from_the_attention_plots_to_the_grad_cam_of_a_misclassified_clip(page: Page, address: str):
    page.goto(f"{address}/attention")
    expect(page.get_by_role("heading", name="Figure 5: attention by layer")).to_be_visible()
    expect(page.locator(".js-plotly-plot .scatterlayer").first).to_be_visible()

    page.get_by_role("link", name="Predictions").click()
    expect(page.get_by_role("heading", name="Predictions")).to_be_visible()
    expect(page.get_by_text("most confident first")).to_be_visible()
    expect(page.get_by_text("predicted: ").first).to_be_visible()
    inspect = page.get_by_role("link", name="Inspect").first
    clip = parse_qs(urlsplit(inspect.get_attribute("href")).query)["clip"][0]
    inspect.click()

    expect(page.get_by_role("heading", name="Grad-CAM over time")).to_be_visible()
    expect(page.get_by_test_id("stCaptionContainer").filter(has_text=clip).first).to_be_visible()
    overlays = page.locator("img[alt^='Grad-CAM, frame']")
    expect(overlays).to_have_count(8)
    page.wait_for_function(ALL_PAINTED, arg="img[alt^='Grad-CAM, frame']")
    numbers = [int(re.search(r"frame (\d+)", alt)[1]) for alt in overlays.evaluate_all("i => i.map(x => x.alt)")]
    assert numbers == sorted(numbers) and len(set(numbers)) == 8
    expect(page.get_by_text("predicted: ").first).to_be_visible()


def test_the_video_plays(tab: Page, address: str):
    tab.goto(f"{address}/clip?run=motion-rgb-p4")
    expect(tab.get_by_text("The video in the browser's player")).to_be_visible()
    settle(tab)
    tab.get_by_text("The video in the browser's player").click()
    video = tab.locator("video")
    expect(video).to_be_visible()
    until(tab, "document.querySelector('video').readyState >= 2")  # loadeddata may be over while it seeks
    video.evaluate("v => v.play()")
    until(tab, "document.querySelector('video').currentTime > 0.2")
    assert video.evaluate("v => [v.videoWidth, v.videoHeight]") == [320, 240]


def test_next_misclassified_shows_another_clip(tab: Page, address: str):
    tab.goto(f"{address}/clip?run=appearance-flow-p4")
    expect(tab.get_by_role("heading", name="Grad-CAM over time")).to_be_visible()
    shown = [tab.get_by_test_id("stCaptionContainer").filter(has_text=".mp4").first.inner_text()]
    for _ in range(2):
        tab.get_by_role("link", name="Next").click()
        caption = tab.get_by_test_id("stCaptionContainer").filter(has_text=".mp4").first
        expect(caption).not_to_have_text(shown[-1])
        shown.append(caption.inner_text())
        until(tab, "shown => new URLSearchParams(location.search).get('clip') === shown", arg=shown[-1])
    assert len(set(shown)) == 3
    tab.go_back()
    expect(tab.get_by_test_id("stCaptionContainer").filter(has_text=shown[1]).first).to_be_visible()


def test_a_link_opens_its_clip(page: Page, address: str):
    page.goto(f"{address}/clip?run=motion-rgb-p4&clip=val%2F0001_00007.mp4")
    expect(page.get_by_role("heading", name="Grad-CAM over time")).to_be_visible()
    expect(page.get_by_text("val/0001_00007.mp4").first).to_be_visible()
    page.get_by_role("link", name="Predictions").click()
    expect(page.get_by_role("heading", name="Predictions")).to_be_visible()


def test_a_page_writes_its_default_choice_into_the_url(page: Page, browser: Browser, address: str):
    page.goto(f"{address}/clip?run=appearance-rgb-p4")
    expect(page.get_by_role("heading", name="Grad-CAM over time")).to_be_visible()
    caption = page.get_by_test_id("stCaptionContainer").filter(has_text=".mp4").first
    shown = caption.inner_text()
    until(page, "window.location.search.includes('clip=')")
    assert parse_qs(urlsplit(page.url).query)["clip"] == [shown]
    other = browser.new_page()
    other.goto(page.url)
    expect(other.get_by_test_id("stCaptionContainer").filter(has_text=shown).first).to_be_visible()
    other.close()


def test_a_square_of_the_confusion_matrix_opens_its_clips(tab: Page, address: str):
    matrix = open_matrix(tab, address)
    # A mistake, and where it is on the canvas.
    row, column, label, prediction = a_mistake(matrix)
    x, y = matrix.evaluate("(m, cell) => m.view.centre(...cell)", [row, column])
    canvas = matrix.locator("canvas")
    canvas.hover(position={"x": x, "y": y})
    expect(matrix.locator(".status")).to_contain_text(f"{label}, predicted {prediction}: ")
    canvas.click(position={"x": x, "y": y})
    expect(tab.get_by_role("heading", name=f"{label}, predicted {prediction}")).to_be_visible()
    until(tab, "new URLSearchParams(location.search).has('said')")
    query = parse_qs(urlsplit(tab.url).query)
    assert (query["label"], query["said"]) == ([label], [prediction])
    expect(tab.locator(".thumbnail").first).to_be_visible()
    tab.get_by_role("link", name="Inspect").first.click()
    expect(tab.get_by_role("heading", name="Grad-CAM over time")).to_be_visible()


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1440, 900)])
def test_the_clips_of_a_clicked_square_are_seen_without_scrolling(width: int, height: int, tab: Page, address: str):
    tab.set_viewport_size({"width": width, "height": height})
    matrix = open_matrix(tab, address)
    expect(matrix).to_have_attribute("data-counts", "true")  # the numbers of clips fit into the squares
    row, column, *_ = a_mistake(matrix)
    x, y = matrix.evaluate("(m, cell) => m.view.centre(...cell)", [row, column])
    matrix.locator("canvas").click(position={"x": x, "y": y})
    first = tab.locator(".thumbnail").first
    expect(first).to_be_visible()
    settle(tab)
    box = first.bounding_box()
    assert box and box["y"] + box["height"] <= height and box["x"] + box["width"] <= width
    assert tab.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 0
    # A rare mistake is fainter than the correct clips, on the light page nearer to white.
    shares = matrix.evaluate("m => [0.02, 0.5, 1].map(share => m.view.colour(share, false)[2])")
    assert shares == sorted(shares, reverse=True) and shares[0] > 150
    tab.get_by_role("button", name="Close").click()
    expect(tab.get_by_text("Most confused")).to_be_visible()
    tab.set_viewport_size({"width": 1280, "height": 800})


@pytest.mark.long
def test_no_order_of_runs_and_filters_ends_in_an_error_page(tab: Page, address: str):
    random, chosen = Random(1), list[str]()
    runs = [f"{task}-{kind}" for task in ("motion", "appearance") for kind in ("rgb-p2", "rgb-p4", "rgb-p8", "flow-p4")]
    tab.goto(f"{address}/predictions")
    expect(tab.get_by_role("slider").first).to_be_visible()
    for _ in range(6):
        settle(tab)
        chosen.append(random.choice(runs))
        box = tab.get_by_role("combobox", name="Run", exact=True)
        box.click()
        box.fill(chosen[-1])
        tab.keyboard.press("Enter")
        expect(tab.get_by_text(f"clips match: {chosen[-1]}")).to_be_visible()
        settle(tab)
        thumb = tab.get_by_role("slider").nth(random.randrange(6))
        thumb.focus()
        key = random.choice(["ArrowRight", "ArrowLeft", "End", "Home"])
        chosen.append(f"{thumb.get_attribute('aria-label')} {key}")
        tab.keyboard.press(key)
        settle(tab)
        error = tab.get_by_test_id("stException").or_(tab.get_by_text("has encountered an error"))
        assert error.count() == 0, f"after {'; '.join(chosen)}"


def test_the_confusion_matrix_by_keyboard_and_enlarged(tab: Page, address: str):
    matrix = open_matrix(tab, address)
    names = matrix.evaluate("m => m.view.data.names")
    matrix.locator("canvas").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):  # the first one enters at the top left
        tab.keyboard.press(key)
    expect(matrix.locator(".status")).to_contain_text(f"{names[1]}, predicted {names[1]}: ")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", name=f"{names[1]}, predicted {names[1]}")).to_be_visible()
    settle(tab)
    box = matrix.locator("canvas").bounding_box()
    a, b = (matrix.evaluate("(m, cell) => m.view.centre(...cell)", cell) for cell in ([2, 2], [6, 6]))
    tab.mouse.move(box["x"] + a[0], box["y"] + a[1])
    tab.mouse.down()
    tab.mouse.move(box["x"] + b[0], box["y"] + b[1], steps=4)
    tab.mouse.up()
    expect(tab.locator(".matrix[data-drawn='2,7 2,7']")).to_be_visible()
    tab.get_by_role("button", name="Whole matrix").click()
    expect(tab.locator(f".matrix[data-drawn='0,{len(names)} 0,{len(names)}']")).to_be_visible()


def test_from_plot_to_frame_by_keyboard(page: Page, address: str):
    page.goto(f"{address}/predictions?run=appearance-rgb-p4")
    first = page.locator(".thumbnail").first
    expect(first).to_be_visible()
    first.focus()
    until(page, "getComputedStyle(document.activeElement).animationName === 'play'")  # it plays
    page.get_by_role("link", name="Inspect").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="What if")).to_be_visible()
    settle(page)
    page.get_by_role("link", name="Next").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Grad-CAM over time")).to_be_visible()


def test_back_takes_one_step_for_each_view(page: Page, address: str):
    page.goto(f"{address}/predictions?run=appearance-rgb-p4&outcome=misclassified&confidence=0.4&confidence=1.0")
    fit = page.get_by_text("clips match").first
    expect(fit).to_be_visible()
    until(page, "history.patched")  # browser_history.js has run
    kept = fit.inner_text()
    assert not kept.startswith("60 of")  # the filters are in force
    page.get_by_role("link", name="Inspect").first.click()
    expect(page.locator(".status")).to_contain_text("frame")
    first = parse_qs(urlsplit(page.url).query)["clip"]
    page.get_by_role("link", name="Next").click()
    until(page, "old => new URLSearchParams(location.search).get('clip') !== old", arg=first[0])
    page.get_by_role("link", name="Attention").click()
    expect(page.get_by_role("heading", name="Attention", exact=True)).to_be_visible()
    page.go_back()
    expect(page.locator(".status")).to_contain_text("frame")
    page.go_back()
    until(page, "old => new URLSearchParams(location.search).get('clip') === old", arg=first[0])
    expect(page.get_by_test_id("stCaptionContainer").filter(has_text=first[0]).first).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Predictions")).to_be_visible()
    expect(page.get_by_text(kept)).to_be_visible()


@pytest.mark.long
def test_the_tour_leads_through_the_demo_by_keyboard(page: Page, address: str):
    page.goto(address)
    start = page.get_by_role("link", name="Tour of the demo")
    settle(page)
    start.focus()
    page.keyboard.press("Enter")
    seen = []
    for number in range(1, 8):
        expect(page.get_by_text(f"{number} of 7 ·")).to_be_visible()
        until(page, f"new URLSearchParams(location.search).get('tour') === '{number}'")
        seen.append(page.get_by_test_id("stHeading").first.inner_text())
        if number == 3:
            expect(page.get_by_role("heading", name=", predicted ")).to_be_visible()  # the cell is open
        if number == 5:
            expect(page.get_by_role("radio", name="reversed", checked=True)).to_be_visible()
        if number == 6:
            expect(page.get_by_text("clips, lost").or_(page.get_by_text("clip, lost"))).to_be_visible()
        settle(page)
        if number < 7:
            page.get_by_role("link", name="Next:").focus()
            page.keyboard.press("Enter")
    assert seen == ["Attention", "Attention", "Predictions", "Clip", "Clip", "Compare", "Your own"]
    page.get_by_role("button", name="End the tour").click()
    expect(page.get_by_text("7 of 7 ·")).to_have_count(0)


def test_a_page_without_charts_preloads_plotly(page: Page, address: str):
    fetched = "performance.getEntriesByType('resource').filter(r => r.name.includes('/PlotlyChart.')).length"
    page.goto(f"{address}/notes")
    until(page, f"{fetched} === 1")
    page.get_by_role("link", name="Attention", exact=True).click()
    expect(page.locator(".js-plotly-plot .scatterlayer").first).to_be_visible()
    assert page.evaluate(fetched) == 1
