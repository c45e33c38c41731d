"""What the pages do with more clips than a browser should be sent at once."""

import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from benchmarks.made_runs import make_run
from sth_core.memory import give_back_freed_memory
from tests.test_app import PREDICTIONS, open_page, words
from workbench.components.prediction_views import MOST_ROWS

CLIPS = 2 * MOST_ROWS + 500


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    make_run(folder / "large", CLIPS, 30, 4)
    return folder


def test_a_long_table_is_sorted_whole_and_sent_a_page_at_a_time(runs, monkeypatch):
    link = {"run": "large", "view": "All clips"}
    pages = [
        open_page(runs, monkeypatch, PREDICTIONS, **link, sort="confidence", descending="true", rows=str(number))
        for number in (1, 2, 3)
    ]
    tables = [app.dataframe[-1].value for app in pages]
    assert [len(table) for table in tables] == [MOST_ROWS, MOST_ROWS, 500]
    confidences = [float(c) for table in tables for c in table["confidence"]]
    assert confidences == sorted(confidences, reverse=True)
    opened = [parse_qs(urlsplit(address).query)["clip"][0] for table in tables for address in table["open"]]
    assert len(set(opened)) == CLIPS and opened[0] == tables[0]["clip_id"].iloc[0]
    assert f"{2 * MOST_ROWS + 1:,} to {CLIPS:,} of {CLIPS:,} clips" in words(pages[2])


def test_a_page_that_filters_leave_empty_is_the_last_one_that_is_left(runs, monkeypatch):
    app = open_page(runs, monkeypatch, PREDICTIONS, run="large", view="All clips", rows="3")
    assert f"{2 * MOST_ROWS + 1:,} to {CLIPS:,} of" in words(app)
    app.text_input[0].set_value("class 00").run()  # a third of them
    assert not app.exception
    some = app.dataframe[-1].value
    assert 0 < len(some) < MOST_ROWS and some["clip_id"].str.contains("class 00").all()


@pytest.mark.parametrize("rows", ["0", "99", "x"])
def test_a_link_to_a_page_that_is_not_there_shows_another(rows, runs, monkeypatch):
    app = open_page(runs, monkeypatch, PREDICTIONS, run="large", view="All clips", rows=rows)
    assert not app.exception and len(app.dataframe[-1].value) > 0


def test_a_page_of_the_gallery_is_in_the_link(runs, monkeypatch):
    first, third = (open_page(runs, monkeypatch, PREDICTIONS, run="large", gallery_page=page) for page in ("1", "3"))
    assert "predicted: " in words(first) and words(first) != words(third)
    assert len(third.number_input) == 1 and third.number_input[0].value == 3


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_trim is glibc's")
def test_what_a_large_table_took_is_given_back() -> None:
    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    pieces = [b"x" * 50_000 + bytes([i % 256]) for i in range(4000)]  # 200 MB, small enough for the heap
    last = [b"y" * 50_000 + bytes([i]) for i in range(20)]  # above them: the heap does not end where they do
    before = held()
    del pieces
    give_back_freed_memory()
    assert before - held() > 150e6 and last
