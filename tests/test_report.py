"""`sth report`: what it shows of real runs, that it loads nothing, that text is text, its PDF, and what it refuses."""

import re
import shlex
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pypdfium2
import pytest
from playwright.sync_api import Page

from analysis.report import printed_page, written_report
from analysis.report.prediction_parts import drawn_of
from analysis.report.report_filters import linked_clips
from analysis.report.report_parts import without_lists
from analysis.report.report_sources import ReportSources, chosen_views, find_sources, overview_of
from analysis.report.view_parts import view_part
from analysis.report.written_report import ReportOptions, write_report
from analysis.runs.notes import add_tag, save_note
from analysis.runs.run_directory import find_runs, open_run
from analysis.runs.saved_views import SavedView, save_view
from sth_core.errors import UserError
from tests.test_app import open_page, words
from tests.test_cli import ends_well, mistake
from tests.tiny import write_run
from workbench.networks import network_for_report

RGB, FLOW = "appearance-rgb-p4", "appearance-flow-p4"
HOSTILE = "<script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)> *a* {{ 7 * 7 }} \u202egnp"
ADDRESSES = ("src", "href", "srcset", "action", "data", "poster", "background", "formaction", "xlink:href")


class Elements(HTMLParser):
    """The elements of a page: (tag, attributes); and its text, that of scripts and style sheets apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.words, self.style = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data: str) -> None:
        inside = next((tag for tag, _ in reversed(self.found)), "")
        if inside == "style":
            self.style += data
        self.words += data


@pytest.fixture(scope="module")
def written(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A report of two runs of the demo, written by the command, and what the command said."""
    folder = tmp_path_factory.mktemp("report")
    runs = folder / "runs"
    for name in (RGB, FLOW):
        shutil.copytree(demo / "runs" / name, runs / name)
    write_run(runs / "damaged", [[0.5], [0.6]])
    next((runs / "damaged").glob("predictions/*.parquet")).write_bytes(b"PAR1")
    write_run(runs / "plain", [[0.5], [0.6]], attention=False)
    run = open_run(runs / RGB)
    clips = overview_of(run)["clip_id"]
    add_tag(run, clips[0], "wrong <b>label</b>")
    add_tag(open_run(runs / "plain"), "c0", "odd")
    save_note(run, clips[0], f"first line\n{HOSTILE}", 0)
    gone = next(part for part in sorted((runs / FLOW).glob("predictions/*.parquet")))
    table = pd.read_parquet(gone)
    table.assign(path=table["path"].where(table["clip_id"] != clips[0], "/nowhere/gone.mp4")).to_parquet(gone)
    save_view(runs, "Layers", "", "attention", {"runs": [RGB, FLOW, "plain"]})
    save_view(runs, "Cells", "two \u03b1", "predictions", {"run": [RGB], "view": ["Confusion"], "new": ["1"]})
    save_view(runs, HOSTILE[:100].replace("\u202e", ""), HOSTILE, "clip", {"run": [RGB], "clip": [clips[0]]})
    save_view(runs, "Reversed", "", "clip", {"run": [RGB], "clip": [clips[1]], "order": ["reversed"], "layer": ["no"]})
    save_view(runs, "Without its video", "", "clip", {"run": [FLOW], "clip": [clips[0]]})
    save_view(runs, "Fields", "", "clip", {"run": [FLOW], "clip": [clips[1]], "flow_field": ["true"]})
    save_view(runs, "Two", "", "compare", {"a": [RGB], "b": [FLOW]})
    save_view(runs, "Removed", "it was here", "predictions", {"run": ["removed"]})
    save_view(runs, "Damaged", "", "predictions", {"run": ["damaged"]})
    save_view(runs, "No attention", "", "attention", {"runs": ["plain"]})
    save_view(runs, "Elsewhere", "", "own", {})
    out = folder / "report.html"
    said = ends_well("report", runs, "-o", out, "--title", f"Title {HOSTILE}".replace("\u202e", ""), "--tag", "odd")
    return out, said


def test_the_report_has_each_view_its_clips_and_recipes(written: tuple[Path, str]) -> None:
    out, said = written
    page = Elements(out.read_text(encoding="utf-8"))
    text = " ".join(page.words.split())
    assert "writing the report" in said and f"{out} and {out.with_suffix('.pdf')}" in said
    for sentence in (
        f"predictions?run={RGB}&view=Confusion", "Not applied, as a report does not know it: new.",
        "Accuracy of B minus accuracy of A:", "95 %", "1 clip of 4 runs with the tag odd.",
        "There is no run removed in", "The run damaged cannot be shown:", "plain is not shown:",
        "None of the view's runs has recorded attention.", "No frames: ", "gone.mp4",
        "The link's layer no is none of this network's", "frames reversed",
        "The pictures are the first of the five flow fields", "A report does not show the page own",
        "the map as a video", "sth cam ", f"sth figures {out.parent / 'runs'} -o figures", "it was here", "two α",
    ):  # fmt: skip
        assert sentence in text, sentence
    pictures = [attributes for tag, attributes in page.found if tag == "img"]
    of_clips = [attributes for attributes in pictures if "frame " in attributes["alt"]]
    assert len(of_clips) == 3 * 8 * 2  # three clips, as they are and mapped
    assert sum(tag == "source" for tag, _ in page.found) >= 4  # figures, in the dark
    assert any(attributes.get("download", "").endswith(".csv") for _, attributes in page.found)


def test_nothing_is_loaded_and_text_is_text(written: tuple[Path, str]) -> None:
    page = Elements(written[0].read_text(encoding="utf-8"))
    for tag, attributes in page.found:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form"), tag
        assert not [key for key in attributes if key.startswith("on")], attributes
        for key in ADDRESSES:
            assert attributes.get(key, "#").startswith(("data:", "#")), (tag, key, attributes[key][:100])
    assert "url(" not in page.style and "@import" not in page.style
    policy = next(attributes["content"] for tag, attributes in page.found if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; img-src data:") and "script-src" not in policy
    assert "<script>alert(1)</script>" in page.words and "{{ 7 * 7 }}" in page.words
    assert "\\u202egnp" in page.words and "\u202e" not in page.words
    assert "wrong <b>label</b>" in page.words


def test_a_browser_shows_it_light_and_dark_without_a_request(written: tuple[Path, str], page: Page) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    sources = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(written[0].as_uri())
        broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
        assert page.evaluate(broken) == 0
        sources[scheme] = page.evaluate("document.querySelector('picture img').currentSrc")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert sources["light"] != sources["dark"]
    assert {url for url in requested if not url.startswith("data:")} == {written[0].as_uri()}


def test_the_pdf_has_the_text(written: tuple[Path, str]) -> None:
    document = pypdfium2.PdfDocument(written[0].with_suffix(".pdf"))
    text = " ".join("".join(page.get_textpage().get_text_bounded() for page in document).split())
    for part in (
        "Title <script>alert(1)",
        "Layers",
        "Without its video",
        "it was here",
        "first line",
        "95 %",
        "sth cam",
    ):
        assert part in text, part
    assert len(document) >= 3 and f"1 / {len(document)}" in text


@pytest.fixture
def sources(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> ReportSources:
    """A tiny run, on a computer without a browser."""
    monkeypatch.setattr(written_report, "write_pictures", lambda *_: "no browser draws")
    monkeypatch.setattr(printed_page, "installed_browser", lambda: None)
    monkeypatch.setattr(printed_page, "kaleido_browser", lambda: None)
    return find_sources([recorded], network_for_report, lambda path: "")


def test_without_a_browser_figures_are_interactive_and_there_is_no_pdf(sources: ReportSources, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    out = tmp_path / "report.html"
    report = write_report(sources, [], out, ReportOptions(), lambda *of: done.append(of))
    assert report.pdf is None and "chromium" in report.said[-1] and any("no browser draws" in s for s in report.said)
    text = out.read_text(encoding="utf-8")
    assert "Plotly.newPlot" in text and "What recorded confuses" in text and "Attention by layer" in text
    assert done[-1] == (len(done), len(done)) and done == sorted(done)
    with pytest.raises(UserError, match=r"report\.html exists; choose another name, or replace it with --overwrite"):
        write_report(sources, [], out, ReportOptions())
    write_report(sources, [], out, ReportOptions(title="Again", overwrite=True, pdf=False))
    assert "<h1>Again</h1>" in out.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_report_that_is_interrupted_leaves_nothing(sources: ReportSources, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(sources, [], tmp_path / "report.html", ReportOptions(), interrupt)
    assert not [*tmp_path.iterdir()]


def test_the_views_of_single_runs(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("a", "b"):
        write_run(runs / "deep" / name, [[0.5], [0.6]])
    save_view(runs, "of a", "", "predictions", {"run": ["deep/a"]})
    save_view(runs, "of both", "", "compare", {"a": ["deep/a"], "b": ["deep/b"]})
    save_view(runs, "of none", "", "predictions", {"run": ["gone"]})
    found, said = find_sources([runs / "deep" / "a"], network_for_report, str), list[str]()
    assert (found.folder, [*found.chosen], sorted(found.runs)) == (runs, ["deep/a"], ["deep/a", "deep/b"])
    assert [view.name for view in chosen_views(found, (), said.append)] == ["of a", "of none"]
    assert said == ["left out: the view of both, which shows other runs; --view 'of both' takes it"]
    assert [view.name for view in chosen_views(found, ("of both", "of a"), said.append)] == ["of both", "of a"]
    with pytest.raises(UserError, match=r"no view 'of c' beside .* there are: of a, of both, of none"):
        chosen_views(found, ("of c",), said.append)
    write_run(tmp_path / "other" / "c", [[0.5]])
    with pytest.raises(UserError, match="lie in several folders"):
        find_sources([runs, tmp_path / "other"], network_for_report, str)
    assert "must end in .html" in mistake("report", runs, "-o", tmp_path / "report.pdf")
    (tmp_path / "empty").mkdir()
    assert "no runs in" in mistake("report", tmp_path / "empty", "-o", tmp_path / "report.html")


@pytest.mark.parametrize(
    ("tags", "given", "sentence"),
    [
        (["blurry", "far"], "blury", "the tag 'blury' (did you mean 'blurry'?); there are: blurry, far"),
        (["blurry"], "else", "the tag 'else'; there are: blurry"),
        ([], "blurry", "the tag 'blurry'; none of their clips has one"),
    ],
)
def test_a_tag_that_no_clip_has_is_refused(tags: list[str], given: str, sentence: str, tmp_path: Path) -> None:
    runs, out = tmp_path / "runs", tmp_path / "out" / "report.html"
    for name in ("a", "b"):
        write_run(runs / name, [[0.5], [0.6]])
    for tag in tags:
        add_tag(open_run(runs / "a"), "c0", tag)
    given_twice = [word for tag in (*tags, given) for word in ("--tag", tag)]
    assert mistake("report", runs, "-o", out, *given_twice) == f"sth: no clip of these runs has {sentence}\n"
    assert not out.parent.exists()


def test_a_tag_may_be_in_notes_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_report, "write_pictures", lambda *_: "no browser draws")
    runs = tmp_path / "runs"
    write_run(runs / "a", [[0.5], [0.6]])
    (runs / "a" / "notes.sqlite").write_text("damaged")
    ends_well("report", runs, "-o", tmp_path / "report.html", "--tag", "odd", "--no-pdf")
    assert "0 clips of 1 run with the tag odd." in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "All 24 clips."),
        ({"outcome": ["correct"]}, "match: correct."),
        ({"label": ["nothing"]}, "0 of 24 clips match: label nothing."),
        ({"search": ["no such"], "sort": ["label"]}, "0 of 24 clips match: name contains no such."),
        ({"confidence": ["0", "1"]}, "24 of 24 clips match: Confidence 0 to 1."),
        ({"confidence": ["1", "0"], "margin": ["x"]}, "All 24 clips."),
        ({"also": ["layer:layer1.0.conv1"], "layer:layer1.0.conv1": ["-1", "0"]}, "layer:layer1.0.conv1 -1 to 0."),
    ],
)
def test_the_filters_of_a_link(query: dict[str, list[str]], expected: str, recorded: Path) -> None:
    [run] = find_runs(recorded)
    table = overview_of(run)
    passing, (sentence, *rest) = linked_clips(run, table, query)
    assert sentence.endswith(expected) and not rest
    if "outcome" in query:
        assert passing.tolist() == np.asarray(table["correct"], bool).tolist()


def test_the_page_views_makes_a_report(tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(written_report, "write_pictures", lambda *_: "no browser draws")
    monkeypatch.setattr(written_report, "print_page", lambda page, out: "no browser prints")
    shutil.copytree(recorded, tmp_path / "tiny")
    save_view(tmp_path, "*mine*", "", "predictions", {"run": ["tiny"]})
    app = open_page(tmp_path, monkeypatch, "workbench/pages/views.py")
    next(button for button in app.button if button.label == "Make the report").click().run()
    assert not app.exception and "no browser prints" in words(app)
    [download] = app.get("download_button")
    assert download.proto.label == "Download HTML"


@pytest.mark.long
def test_the_command_of_a_page_without_chosen_views_makes_its_report(recorded, tmp_path, monkeypatch) -> None:
    """On the page nothing is left of *Views*; the command that it prints takes no saved view either."""
    monkeypatch.setattr(written_report, "write_pictures", lambda *_: "no browser draws")
    monkeypatch.setattr(written_report, "print_page", lambda page, out: "no browser prints")
    runs = tmp_path / "runs"
    shutil.copytree(recorded, runs / "a")
    shown = []
    for saved in (0, 1):
        if saved:
            save_view(runs, "mine", "", "predictions", {"run": ["a"]})
        app = open_page(runs, monkeypatch, "workbench/pages/views.py")
        app.multiselect[0].set_value([])
        next(button for button in app.button if button.label == "Make the report").click().run()
        assert not app.exception
        page = app.session_state["report made"].page.decode()
        [command] = re.findall("<code>sth (report .*)</code>", page)
        assert ("--no-views" in command) == bool(saved)
        out = tmp_path / f"{saved}.html"
        ends_well(*shlex.split(command.replace("report.html", str(out))))
        shown += [re.findall("<h2>(.*)</h2>", text) for text in (page, out.read_text(encoding="utf-8"))]
    assert shown == [["Runs", "Attention by layer", "What a confuses"]] * 4
    said = mistake("report", runs, "-o", tmp_path / "x.html", "--view", "mine", "--no-views")
    assert said == "sth: --no-views leaves out the views that --view names (mine); give one of the two\n"


@pytest.mark.parametrize(
    ("beside", "cards", "said"),
    [("again", ["tiny", "again"], ""), ("none", ["tiny"], "No second network: There is no run none")],
)
def test_a_second_network_has_a_card_of_its_own(beside, cards, said, recorded: Path, tmp_path: Path) -> None:
    for name in ("tiny", "again"):
        shutil.copytree(recorded, tmp_path / name)
    sources = find_sources([tmp_path], network_for_report, lambda path: "")
    clip = overview_of(open_run(tmp_path / "tiny"))["clip_id"][0]
    query = {"run": ["tiny"], "with": [beside], "clip": [clip]}
    part = view_part(SavedView(Path(), "name", "", "clip", query, ""), sources)
    assert [card.run for card in part.cards] == cards and len(part.facts) == len(cards)
    assert " ".join(part.problems).startswith(said) and bool(part.problems) == bool(said)


PLOTTED = [  # the columns of a link
    ("label", "clips"), ("confidence", "clips"), ("confidence", "margin"), ("label", "alpha_temporal"),
    ("layer:layer4.0.conv1", "confidence"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "y"), PLOTTED)
def test_a_plot_of_clips_is_drawn_with_its_data(x: str, y: str, sources: ReportSources) -> None:
    [run] = sources.chosen
    query = {"run": [run], "view": ["Plot"], "x": [x], "y": [y]}
    part = view_part(SavedView(Path(), "name", "", "predictions", query, ""), sources)
    assert not part.problems and "n = 24 clips" in part.sections[0].caption
    assert "Not applied" not in " ".join(part.facts)
    [section] = part.sections
    assert list(section.data["plot"]) == ["clip_id", *[name for name in (x, y) if name != "clips"]]
    bars = [trace.y for trace in section.figure.data if trace.type == "bar"]
    points = [trace.x for trace in section.figure.data if trace.type == "scatter"]
    assert sum(map(sum, bars)) + sum(map(len, points)) == len(section.data["plot"]) == 24
    unknown = view_part(SavedView(Path(), "name", "", "predictions", query | {"y": ["else"]}, ""), sources)
    assert "plots else, which the run" in unknown.problems[0]


def test_a_plot_of_no_clip_is_no_unknown_view(sources: ReportSources) -> None:
    query = {"run": list(sources.chosen), "view": ["Plot"], "search": ["no such clip"]}
    part = view_part(SavedView(Path(), "name", "", "predictions", query, ""), sources)
    assert not part.problems and "0 of 24 clips match" in " ".join(part.facts)


def test_a_caption_says_which_clips_a_plot_lacks() -> None:
    passing = np.array([True, True, False, True])
    assert [drawn_of(passing, n, "without features") for n in (3, 1)] == ["3 clips", "1 clip (2 without features)"]


def test_every_view_of_every_page(experiments: Path, tmp_path: Path) -> None:
    shutil.copytree(experiments / "tiny", tmp_path / "tiny")
    shutil.copytree(experiments / "tiny", tmp_path / "again")
    one = {"run": ["tiny"]}
    add_tag(open_run(tmp_path / "tiny"), overview_of(open_run(tmp_path / "tiny"))["clip_id"][0], "odd")
    shown = {  # what the part says, by the page and its parameters
        ("", ""): "accuracy (95 %)", ("attention", ""): "Figure 5", ("attention", "show=Hypotheses"): "Section 6.1",
        ("attention", "show=By class"): "each class and layer",
        ("attention", "show=Correct and misclassified"): "Mean α_T",
        ("attention", "show=Unusual clips"): "differs most", ("predictions", "view=Misclassified"): "misclassified",
        ("predictions", "view=Per class"): "Accuracy of each class",
        ("predictions", "view=Calibration"): "calibration error",
        ("predictions", "view=Precision and recall"): "lowest F1", ("predictions", "view=All clips"): "All 24 clips",
        ("predictions", "view=Map"): "This run has no features", ("predictions", "view=Plot"): "Number of clips by",
        ("predictions", "view=Else"): "There is no view Else", ("compare", ""): "minus accuracy of A",
        ("experiments", "experiment=Probes"): "Accuracy by probe", ("experiments", "experiment=Trust"): "Each test",
        ("experiments", "experiment=Interventions"): "By layer, stage and everywhere", ("figures", ""): "Figure 7",
        ("notes", ""): "1 of 1 clip with tags or a note",
        ("experiments", "experiment=None"): "There is no experiment None",
    }  # fmt: skip
    sources = find_sources([tmp_path], network_for_report, lambda path: "")
    for (page, more), expected in shown.items():
        query = dict(one) | ({more.split("=")[0]: [more.split("=")[1]]} if more else {})
        query |= {"a": ["tiny"], "b": ["again"]} if page == "compare" else {}
        part = view_part(SavedView(Path(), "name", "", page, query, ""), sources)
        assert expected in repr((part.facts, part.problems, part.sections)), (page, more, part.problems)


def test_columns_of_lists_are_not_shown_but_categories_are() -> None:
    table = pd.DataFrame({"label": pd.Categorical(["a", "b"]), "scores": [[0.5, 0.5], [0.1, 0.9]], "n": [1, 2]})
    assert list(without_lists(table)) == ["label", "n"]
