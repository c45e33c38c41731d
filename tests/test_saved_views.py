"""Saved views: files beside the runs, the list, deletion and undo."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from analysis.runs.saved_views import SavedView, delete_view, restore_view, save_view, saved_views, views_folder
from sth_core.errors import UserError
from tests.test_app import open_page, words
from tests.test_cli import ends_well
from tests.tiny import write_run

VIEWS = "workbench/pages/views.py"
QUERY = {"run": ["a b/ü"], "tags": ["x", "y"]}


def test_a_view_is_what_was_saved(tmp_path: Path) -> None:
    saved = save_view(tmp_path, "  my  view ", "a note\n", "predictions", QUERY)
    assert saved_views(tmp_path) == [saved]
    assert (saved.name, saved.note, saved.page, saved.query) == ("my view", "a note", "predictions", QUERY)
    assert saved.link == "predictions?run=a+b%2F%C3%BC&tags=x&tags=y"
    second = save_view(tmp_path, "second", "", "", {})
    assert [view.name for view in saved_views(tmp_path)] == ["second", "my view"] and second.link == ""


def test_a_deleted_view_can_be_put_back(tmp_path: Path) -> None:
    saved = save_view(tmp_path, "a", "", "", {})
    delete_view(saved)
    delete_view(saved)  # somebody else has: nothing happens
    assert saved_views(tmp_path) == []
    (gone,) = saved_views(tmp_path, deleted=True)
    restore_view(gone)
    assert saved_views(tmp_path) == [saved] and saved_views(tmp_path, deleted=True) == []


@pytest.mark.parametrize("name", ["", "  ", "a\0", "x" * 101, "\ud800", "taken"])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    save_view(tmp_path, "taken", "", "", {})
    with pytest.raises(UserError, match="name"):
        save_view(tmp_path, name, "", "", {})
    assert len(saved_views(tmp_path)) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": 1}', "\udcff"])
def test_damaged_files_are_named_and_the_others_are_listed(content: str, tmp_path: Path) -> None:
    saved = save_view(tmp_path, "a", "", "", {})
    (views_folder(tmp_path) / "0.json").write_bytes(content.encode(errors="surrogateescape"))
    said: list[str] = []
    assert saved_views(tmp_path, said.append) == [saved]
    assert len(said) == 1 and "0.json is damaged" in said[0]


def test_views_are_not_kept_in_object_storage() -> None:
    with pytest.raises(UserError, match="object storage"):
        save_view(Path("memory://bucket/runs"), "a", "", "", {})
    assert saved_views(Path("memory://bucket/runs")) == []


def test_sessions_that_save_at_once_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: save_view(tmp_path, f"view {i}", "", "clip", {"n": [str(i)]}), range(40)))
    assert {view.name for view in saved_views(tmp_path)} == {f"view {i}" for i in range(40)}


def test_a_killed_process_leaves_no_half_of_a_view(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib\nfrom analysis.runs.saved_views import save_view\n"
        "for i in range(10**6): save_view(pathlib.Path(sys.argv[1]), f'view {i}', 'n' * 5000, 'clip', {})"
    )
    process = subprocess.Popen([sys.executable, "-c", script, tmp_path])
    while len(saved_views(tmp_path)) < 5:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    said: list[str] = []
    views = saved_views(tmp_path, said.append)
    assert not said and all(len(view.note) == 5000 for view in views)
    assert [view.name for view in reversed(views)] == [f"view {i}" for i in range(len(views))]


def test_the_page_lists_opens_deletes_and_puts_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "a", [[0.5], [0.6]])
    save_view(tmp_path, "*mine*", "see <b>here</b>", "predictions", {"run": ["a"]})
    save_view(tmp_path, "old", "", "nosuch", {})
    app = open_page(tmp_path, monkeypatch, VIEWS)
    assert f"2 saved in {tmp_path}/.views" in words(app) and "this version has no page nosuch" in words(app)
    (link,) = app.get("page_link")
    assert link.proto.query_string == "run=a" and "mine" in link.proto.label
    assert not any(element.allow_html for element in app.markdown)
    labelled(app.button, "Delete").click().run()
    assert len(saved_views(tmp_path)) == 1
    next(button for button in app.button if "back" in button.label).click().run()
    assert len(saved_views(tmp_path)) == 2 and not app.exception


def test_the_page_that_is_shown_is_saved_with_its_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "a", [[0.5], [0.6]])
    app = open_page(tmp_path, monkeypatch, "workbench/pages/predictions.py", run="a", view="Confusion")
    labelled(app.text_input, "Name").set_value("shown")
    labelled(app.button, "Save").click().run()
    assert not app.exception and labelled(app.text_input, "Name").value == ""
    (view,) = saved_views(tmp_path)
    query = {"run": ["a"], "view": ["Confusion"]}
    assert (view.name, view.page, {key: view.query[key] for key in query}) == ("shown", "predictions", query)
    labelled(app.text_input, "Name").set_value("shown")
    labelled(app.button, "Save").click().run()
    assert "there is a view with the name shown already" in words(app) and len(saved_views(tmp_path)) == 1


def labelled(widgets: Iterable[Any], label: str) -> Any:
    return next(widget for widget in widgets if widget.label == label)


def test_the_command_prints_them(tmp_path: Path) -> None:
    save_view(tmp_path, "mine", "a note", "clip", {"run": ["a"]})
    said = ends_well("views", tmp_path)
    assert "mine" in said and "clip?run=a" in said and f"{tmp_path}/.views" in said


def test_json_is_for_people_too(tmp_path: Path) -> None:
    saved: SavedView = save_view(tmp_path, "mine", "", "clip", {"run": ["a"]})
    assert json.loads(saved.file.read_text())["query"] == {"run": ["a"]}
