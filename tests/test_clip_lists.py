"""The list of clips in a link to the Clip page: it comes back as it was, or a sentence says why not."""

import zlib
from base64 import urlsafe_b64encode
from pathlib import Path

import numpy as np
import pytest

from analysis.runs.run_directory import Run, open_run
from sth_core.errors import UserError
from tests.tiny import write_run
from workbench.components import clip_lists
from workbench.components.clip_lists import FROM, KEPT, LIST, MOST_IN_LINK, ClipList, linked_list, list_query, mark_of


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("STH_RUNS", str(tmp_path))
    return open_run(write_run(tmp_path / "run", [[0.5, 0.6]]))


@pytest.mark.parametrize("length", [1, MOST_IN_LINK, MOST_IN_LINK + 1, 5000])
def test_a_list_comes_back_from_its_link(length: int, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).permutation(240_000)[:length]
    query = list_query(run, ClipList("Predictions, label *hug*", rows))
    assert len(query[LIST]) < 500 and query[LIST].isascii()
    for _ in range(2):
        found = linked_list(run, 240_000, query)
        assert found and found.name == "Predictions, label *hug*" and np.array_equal(found.rows, rows)
        assert found.position(int(rows[-1])) == length - 1
        monkeypatch.setattr(clip_lists, "offered", {})  # the server starts anew: a list that was opened is kept


def test_without_a_list_there_is_none(run: Run) -> None:
    assert linked_list(run, 9, {FROM: "a name alone"}) is None
    assert list_query(run, ClipList("nothing", np.array([], int))) == {}
    assert ClipList("", np.array([4, 2])).position(3) is None


def test_a_list_that_every_run_has_is_a_word(run: Run) -> None:
    assert list_query(run, ClipList("all clips", np.arange(240_000), "all")) == {LIST: "all"}


def packed(content: bytes) -> str:
    return urlsafe_b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x", "damaged"), ("%%", "damaged"), ("ÄÖ", "damaged"), (packed(b"ab"), "damaged"),
        (packed(bytes(10_000_000)), "damaged"),  # which would be large, unpacked
        (packed(bytes(8)), "another run"),
        (KEPT + "0" * 24, "not kept on this computer"), (KEPT + "../../etc", "not kept on this computer"),
    ],
)  # fmt: skip
def test_a_bad_list_is_refused_in_a_sentence(text: str, sentence: str, run: Run) -> None:
    with pytest.raises(UserError, match=sentence):
        linked_list(run, 9, {LIST: text})


@pytest.mark.parametrize("rows", [[9], [2, 2], []])
def test_rows_that_the_run_does_not_have_are_refused(rows: list[int], run: Run) -> None:
    with pytest.raises(UserError, match="clips that this run does not have"):
        linked_list(run, 9, {LIST: packed(mark_of(run) + np.array(rows, "<u4").tobytes())})


def test_only_so_many_lists_of_links_are_kept_in_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_lists, "offered", {})
    for i in range(clip_lists.MOST_OFFERED + 5):
        list_query(run, ClipList("", np.arange(i, i + MOST_IN_LINK + 1)))
    assert len(clip_lists.offered) == clip_lists.MOST_OFFERED
