"""The Clip page: what one needs lies above the fold, and one steps by keys through the list that one came from."""

import shutil
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect
from streamlit.testing.v1 import AppTest

from analysis.attention.clip_profiles import clip_overview
from analysis.explain.alpha_replacement import WITHOUT_TEMPORAL
from analysis.explain.overlay import flow_colours, seen_flow
from analysis.runs.notes import tags_of
from analysis.runs.run_directory import open_run, predictions
from benchmarks.browser import settle, until
from benchmarks.made_runs import make_run
from tests.test_app import CLIP, COMPARE, PREDICTIONS, open_page, words
from tests.tiny import write_run

RUN, OTHER = "appearance-flow-p4", "appearance-rgb-p4"
browser_test = pytest.mark.browser


def queries(app: AppTest) -> list[dict[str, str]]:
    """The parameters of the links to the Clip page."""
    found = [parse_qs(link.proto.query_string) for link in app.main.get("page_link")]
    return [{key: values[0] for key, values in query.items()} for query in found if "clip" in query]


def test_one_steps_through_what_one_came_from(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is in the link: another session has it too."""
    first, second, *_ = queries(open_page(demo / "runs", monkeypatch, PREDICTIONS, run=RUN, outcome="misclassified"))
    count = int((~clip_overview(open_run(demo / "runs" / RUN))["correct"]).sum())
    app = open_page(demo / "runs", monkeypatch, CLIP, **first)
    assert f"**1 of {count}**, from: Predictions, misclassified" in words(app)
    assert app.main.get("page_link")[0].proto.label == "Next"  # there is none before the first
    query = queries(app)[0]
    assert query["clip"] == second["clip"] != first["clip"]
    app = open_page(demo / "runs", monkeypatch, CLIP, **query)
    assert f"**2 of {count}**, from: Predictions, misclassified" in words(app)
    assert queries(app)[0]["clip"] == first["clip"]


def test_a_list_of_another_run_is_said_and_left(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = queries(open_page(demo / "runs", monkeypatch, PREDICTIONS, run=RUN))[0]
    app = open_page(demo / "runs", monkeypatch, CLIP, **query | {"run": OTHER})
    assert "The list in this link is of another run. You step through another one." in words(app)
    assert "from: all clips" in words(app) or "from: misclassified clips" in words(app)
    assert "list" not in app.query_params


@pytest.mark.parametrize("only_wrong", [False, True])
def test_a_linked_clip_is_shown_also_if_the_list_is_long_or_narrowed(
    only_wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one steps: this session's last clip is another one."""
    clips = 60 if only_wrong else 2100  # more than the select box lists
    run = open_run(make_run(tmp_path / "run", clips, classes=6, layers=2))
    correct = predictions(run).query("correct")["clip_id"].tolist()[::-1]
    more = {"only_wrong": "true"} if only_wrong else {}
    app = open_page(tmp_path, monkeypatch, CLIP, run="run", clip=correct[0], **more)
    for clip in correct[:3]:
        app.query_params["clip"] = clip
        app.run()
        assert clip in words(app) and "does not exist" not in words(app)
        assert app.sidebar.selectbox(key="clip").value == clip


@browser_test
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1280, 720)])
def test_what_one_needs_lies_above_the_fold(width: int, height: int, tab: Page, address: str) -> None:
    tab.set_viewport_size({"width": width, "height": height})
    tab.goto(f"{address}/clip?run={RUN}")
    expect(tab.locator(".scrubber[data-frame]:not(.loading)")).to_be_visible()
    settle(tab)
    tab.wait_for_timeout(500)
    for part in (".picture", ".timeline", ".buttons", ".st-key-clip_title h2", ".st-key-clip_steps", ".score >> nth=4"):
        box = tab.locator(part).bounding_box()
        assert box and box["y"] >= 0 and box["y"] + box["height"] <= height, part
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, part
    expect(tab.get_by_text("Grad-CAM of ").first).to_be_in_viewport()
    assert tab.evaluate("document.querySelector('[data-testid=stMain]').scrollTop") == 0
    wide = "[document.documentElement, document.querySelector('[data-testid=stMain]')]"
    assert tab.evaluate(f"{wide}.every(e => e.scrollWidth <= e.clientWidth)")
    tab.set_viewport_size({"width": 1280, "height": 800})


def shown_clip(page: Page) -> str:
    settle(page)
    return parse_qs(urlsplit(page.url).query)["clip"][0]


@browser_test
def test_keys_step_mark_and_tag_but_not_while_one_types(tab: Page, own_address: str, own_runs: Path) -> None:
    tab.goto(f"{own_address}/clip?run={RUN}")
    expect(tab.locator(".status")).to_contain_text("frame")
    settle(tab)
    first, run = shown_clip(tab), open_run(own_runs / RUN)
    tab.keyboard.press("j")
    until(tab, "old => new URLSearchParams(location.search).get('clip') !== old", first)
    expect(tab.locator(".st-key-clip_steps").get_by_text("2 of ")).to_be_visible()
    second = shown_clip(tab)
    tab.get_by_role("slider", name="Frame").focus()  # the picture's own keys and the page's do not hinder each other
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("c")
    expect(tab.locator(".st-key-mark_correct button[kind=primary]").first).to_be_visible()
    assert tags_of(run, second) == ["correct"]
    tab.keyboard.press("x")
    expect(tab.locator(".st-key-mark_exclude button[kind=primary]").first).to_be_visible()
    settle(tab)
    tab.keyboard.press("c")
    expect(tab.locator(".st-key-mark_correct button[kind=secondary]").first).to_be_visible()
    assert tags_of(run, second) == ["exclude"]

    tab.keyboard.press("?")
    expect(tab.get_by_role("dialog", name="Keys of this page")).to_be_visible()
    tab.keyboard.press("j")  # the window is in front: nothing happens
    tab.keyboard.press("Escape")
    expect(tab.get_by_role("dialog", name="Keys of this page")).to_be_hidden()
    assert shown_clip(tab) == second

    tab.keyboard.press("t")
    field = tab.get_by_role("textbox", name="Add a tag")
    expect(field).to_be_focused()
    tab.keyboard.type("jkcx?t")
    expect(field).to_have_value("jkcx?t")
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("button", name="jkcx?t")).to_be_visible()
    assert tags_of(run, second) == ["exclude", "jkcx?t"] and shown_clip(tab) == second
    tab.keyboard.press("Escape")
    expect(field).to_be_hidden()
    tab.keyboard.press("k")
    until(tab, "old => new URLSearchParams(location.search).get('clip') === old", first)
    expect(tab.locator(".st-key-clip_steps").get_by_text("1 of ")).to_be_visible()


@browser_test
@pytest.mark.parametrize("first", ["step", "click"])
def test_a_click_just_when_the_frame_is_sent_is_drawn(first: str, tab: Page, own_address: str, own_runs: Path) -> None:
    """Streamlit draws one fragment of those whose widgets send in the same moment; another one would stay as it was."""
    tab.goto(f"{own_address}/clip?run={RUN}&frame=3")
    expect(tab.locator(".scrubber[data-frame='3']")).to_be_visible()
    settle(tab)
    was = tags_of(open_run(own_runs / RUN), shown_clip(tab))
    step = "slider.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }))"
    click = "setTimeout(() => document.querySelector('.st-key-mark_correct button').click(), 250)"  # DELAY
    both = [step, click] if first == "step" else [click, step]
    tab.get_by_role("slider", name="Frame").evaluate(f"slider => {{ {'; '.join(both)} }}")
    kind = "secondary" if "correct" in was else "primary"
    expect(tab.locator(f".st-key-mark_correct button[kind={kind}]").first).to_be_visible()
    until(tab, "() => new URLSearchParams(location.search).get('frame') === '4'")
    assert ("correct" in tags_of(open_run(own_runs / RUN), shown_clip(tab))) == (kind == "primary")


@browser_test
def test_the_choices_fold_into_a_line_that_states_them(tab: Page, address: str) -> None:
    tab.goto(f"{address}/clip?{urlencode({'run': RUN})}")
    line = tab.get_by_text("Grad-CAM of ").first
    expect(line).to_contain_text("weights per step")
    line.click()
    tab.get_by_role("combobox", name="Definition").click()
    tab.get_by_role("option", name="weights per clip").click()
    expect(tab.get_by_text("Grad-CAM of ").first).to_contain_text("weights per clip")
    expect(tab.get_by_role("combobox", name="Definition")).to_be_visible()  # it stays open
    until(tab, "location.search.includes('explain=true')")


def test_from_compare_a_click_opens_a_clip_as_both_networks_see_it(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = queries(open_page(demo / "runs", monkeypatch, COMPARE, a=OTHER, b=RUN, changed="lost"))[0]
    assert (query["run"], query["with"]) == (RUN, OTHER)
    app = open_page(demo / "runs", monkeypatch, CLIP, **query)
    assert "from: Compare, lost" in words(app)
    titles = [title.value.replace("\\", "") for title in app.subheader]
    assert titles == [f"A: {OTHER}", "Top 5, softmax score", f"B: {RUN}", "Top 5, softmax score"]
    assert len(app.get("plotly_chart")) == 1 and not app.warning
    assert query["with"] == queries(app)[0]["with"]  # the next clip is shown of both too


@pytest.mark.parametrize("beside", ["one", "no-such-run", RUN])
def test_a_run_that_cannot_be_beside_is_said(
    beside: str, demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(demo / "runs" / RUN, tmp_path / RUN)
    write_run(tmp_path / "one", [[0.5, 0.6]])
    app = open_page(tmp_path, monkeypatch, CLIP, run=RUN, **{"with": beside})
    sentence = "one is not shown beside it: it has no clip" if beside == "one" else "does not exist"
    assert sentence in words(app) and "What if" in [title.value for title in app.subheader]


def test_the_map_follows_what_if(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def strip(**query: str) -> list[str]:
        app = open_page(demo / "runs", monkeypatch, CLIP, run=RUN, **query)
        return [image.proto.imgs[0].caption for image in app.get("image")]

    plain, backward = strip(), strip(order="reversed")
    numbers = [[caption.split(" · ")[0] for caption in captions[:8]] for captions in (plain, backward)]
    assert numbers[0] == numbers[1][::-1] and len(set(numbers[0])) == 8
    assert plain[:8] != backward[:8][::-1]  # and the shares of the map change
    assert strip(alpha="one half")[:8] != plain[:8]
    assert strip(alpha=WITHOUT_TEMPORAL) == strip(alpha="α_T = 0") != plain  # a link of an earlier version


def test_the_colours_of_flow() -> None:
    """White is no motion; red is to the right, cyan to the left, in full colour from an eighth of the largest on."""
    field = np.full((1, 3, 2), 128, np.uint8)
    field[0, 1, 0], field[0, 2, 0] = 255, 1
    assert flow_colours(field).tolist() == [[[255, 255, 255], [255, 0, 0], [0, 255, 255]]]
    to_the_right = np.full((2, 4, 4, 10), 128, np.uint8)
    to_the_right[1, ..., 0] = 255  # of the first field; the four after it have no motion
    pictures = seen_flow(to_the_right, 8)
    assert pictures.shape == (2, 8, 8, 3) and pictures[:, 0, 0].tolist() == [[255, 255, 255], [255, 0, 0]]


@browser_test
def test_two_networks_show_the_same_frame(tab: Page, address: str) -> None:
    tab.goto(f"{address}/clip?run={RUN}&with={OTHER}&flow_field=true&frame=10")
    expect(tab.locator(".scrubber[data-frame='10']")).to_be_visible()
    expect(tab.locator(".picture")).to_have_count(2)
    before = tab.locator(".picture").evaluate_all("all => all.map(c => c.toDataURL())")
    settle(tab)
    tab.get_by_role("slider", name="Frame").focus()
    tab.keyboard.press("Shift+ArrowRight")
    expect(tab.locator(".scrubber[data-frame='20']")).to_be_visible()
    after = tab.locator(".picture").evaluate_all("all => all.map(c => c.toDataURL())")
    assert before[0] != before[1] and before[0] != after[0] and before[1] != after[1]
    expect(tab.locator("figcaption").first).to_contain_text(f"A: {OTHER}")
    expect(tab.locator(".status")).to_contain_text("B: ")


def test_names_with_two_underscores_in_a_row(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit refuses them in the key of a component; a video, a clip or a run may have them in its name."""
    run = shutil.copytree(demo / "runs" / RUN, tmp_path / "a__b")
    for part in (run / "predictions").glob("*.parquet"):
        table = pd.read_parquet(part)
        videos = [str(shutil.copy(path, tmp_path / f"v__{i}.mp4")) for i, path in enumerate(table["path"])]
        table.assign(path=videos).to_parquet(part)
    clip = clip_overview(open_run(run))["clip_id"][0]
    app = open_page(tmp_path, monkeypatch, CLIP, run="a__b", clip=clip)
    assert not app.error and "Input frames" in words(app)
