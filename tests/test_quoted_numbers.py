"""The numbers in README.md and docs/ are those of the outputs that they come from."""

import re
import shlex

import pytest
from click.testing import CliRunner

from benchmarks import docs, quoted
from benchmarks.docs import PAGES, Entry, differences, entries, why_not
from benchmarks.quoted import (
    OUTPUTS,
    REPOSITORY,
    Output,
    read_output,
    rendered,
    uncovered_numbers,
    write_output,
    wrong_numbers,
)
from tests.test_docs import assert_is_a_command
from workbench.cli import main

NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]
HEAD = {"command": "sth x", "date": "2026-01-31", "commit": "abc", "device": "2 cores", "versions": "torch 2"}
BODY = """16 clips

| reader | clips/s | share |
|---|---|---|
| sth | 24.4 | 0.958 (0.356 to 1.000) |
| other | 2,480 | -0.4 |

| b |
|---|
| 1 |
"""
PAGE_WITH_TABLE = "before\n<!-- output: made{number} -->\n| old |\n<!-- end -->\nafter\n"


@pytest.fixture
def folder(tmp_path):
    write_output("made", Output(HEAD, BODY), tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_the_pages_quote_their_outputs(page):
    text = page.read_text(encoding="utf-8")
    assert rendered(text) == text, "run `sth benchmark docs render`"
    assert wrong_numbers(text) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_decimal_number_of_a_page_has_a_source(page):
    assert uncovered_numbers(page.read_text(encoding="utf-8")) == []


def test_every_output_is_of_a_listed_command():
    listed, kept = entries(), {path.stem for path in OUTPUTS.glob("*.md")}
    assert kept <= set(listed)
    quoted_names = {
        name
        for page in PAGES
        for names in re.findall(r"<!-- (?:output|numbers): ([^;>]*?)(?: \d+)?(?:;.*?)? -->", page.read_text("utf-8"))
        for name in names.split()
    }
    assert quoted_names - {"decoding", "explaining"} <= kept
    for name in kept:
        assert read_output(name).head["command"] == listed[name].command, name


def test_every_listed_command_exists_and_takes_these_options():
    for name, entry in entries().items():
        assert entry.minutes > 0
        for line in (*entry.before, entry.command):
            words = shlex.split(line.replace(";", " ; "))
            starts = [i for i, word in enumerate(words) if word == "sth"]
            assert starts or line in entry.before, name
            for start in starts:
                end = next(
                    (i for i in range(start, len(words)) if words[i] in (";", "&&", "done", "sth") and i > start), None
                )
                assert_is_a_command(words[start:end], name)


def test_a_table_is_rendered_by_its_number(folder):
    first, second = (rendered(PAGE_WITH_TABLE.format(number=n), folder) for n in ("", " 2"))
    assert "| sth | 24.4 |" in first
    assert second == "before\n<!-- output: made 2 -->\n| b |\n|---|\n| 1 |\n<!-- end -->\nafter\n"
    with pytest.raises(ValueError, match="no table 3"):
        rendered(PAGE_WITH_TABLE.format(number=" 3"), folder)


@pytest.mark.parametrize(
    ("comment", "block", "wrong"),
    [
        ("made", "It reads 24.4 clips, or 24.", ""),
        ("made", "It reads 24.5 clips.", "24.5"),
        ("made", "It reads 25 clips.", "25"),
        ("made", "Of 16 clips, 0.96 (0.36 to 1.00).", ""),
        ("made", "0.96 (0.36 to 0.40)", "0.40"),  # 0.4 is on another line
        ("made", "-24.4", "-24.4"),
        ("made", "2,480 and -0.4, by 0.4 lower", ""),
        ("made", "Table 7, Figures 5 to 8, ResNet-18, p = 1/8, 95 %, 2020, `--rounds 9`, p < 0.05, [x](y9.md)", ""),
        ("made", "It prints `top: 0.958 (0.356 to 0.999)`", "0.999"),
        ("made; 2.44 = 24.4 / 10; given: 10", "2.44 times 10", "10 of"),  # an operand must be in the output too
        ("made; 1.525 = 24.4 / 16", "1.525 times", ""),
        ("made; 1.6 = 24.4 / 16", "1.6 times", "it is 1.525"),
        ("made; given: 3, 0.5", "3 seeds, 0.5", ""),
        ("made", "| reader | 24.4 |\n|---|---|\n| sth | 24.5 |", "24.5"),
        ("made", "- 24.4\n- 16\n- 17\n\n99 is in another block", "17"),
    ],
)
def test_numbers_are_looked_for_in_the_output(folder, comment, block, wrong):
    found = wrong_numbers(f"text 5.5\n\n<!-- numbers: {comment} -->\n{block}\n", folder)
    assert len(found) == bool(wrong), found
    assert wrong in "".join(found)


@pytest.mark.parametrize(
    ("page", "count"),
    [
        ("It takes 1.5 s.\n", 1),
        ("It takes 15 s.\n\n15 clips\n\n15 steps, 30 %\n", 2),
        ("Python 3.11.2, `x = 1.5`, ResNet-1.5\n\n```\n1.5\n```\n", 0),
        ("<!-- numbers: made -->\n1.5\n\n1.6\n", 1),
        ("<!-- not measured: settings -->\n1.5\n", 0),
        ("<!-- output: made -->\n| 1.5 |\n<!-- end -->\n", 0),
    ],
)
def test_numbers_without_a_source_are_found(page, count):
    assert len(uncovered_numbers(page)) == count


def test_an_output_says_where_it_comes_from(tmp_path):
    write_output("made", Output({**HEAD, "device": ""}, BODY), tmp_path)
    with pytest.raises(ValueError, match="has device"):
        read_output("made", tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        ("24.4", "20.1", []),
        ("0.958 (0.356 to 1.000)", "0.917 (0.356 to 1.000)", [True]),
        ("16 clips", "17 clips", [True]),
        ("| other | 2,480 | -0.4 |\n", "", [True]),
        ("24.4", "stops with an error", [True]),
    ],
)
def test_a_timing_may_differ_and_a_result_may_not(before, after, counts):
    found = list(differences(BODY, BODY.replace(before, after), ("clips/s",)))
    assert [counted for *_, counted in found][: len(counts)] == counts
    assert bool(found) == (before != after)


@pytest.mark.parametrize(
    ("title", "timing"), [("clips/s", True), ("by CPU: clips/s", True), ("x", True), ("max", False)]
)
def test_a_column_of_timings_is_known_by_words_of_its_title(title, timing):
    found = list(differences(f"| {title} |\n| 1 |", f"| {title} |\n| 2 |", ("clips/s", "x")))
    assert [counts for *_, counts in found] == [not timing]


def test_what_cannot_run_here_is_left_out(tmp_path):
    assert "40 minutes" in why_not(Entry("x", 40), None, named=False)
    assert why_not(Entry("x", 40), None, named=True) == ""
    assert "needs clips" in why_not(Entry("x", 1, needs=("clips",)), tmp_path, named=True)
    (tmp_path / "clips").mkdir()
    assert why_not(Entry("x", 1, needs=("clips",)), tmp_path, named=True) == ""


def test_a_command_is_run_again_and_compared(tmp_path, monkeypatch):
    listed = tmp_path / "reproduce.toml"
    listed.write_text('[made]\ncommand = "cat file; echo \'| 7.5 | 2 |\'"\nbefore = ["echo \'| s | n |\' > file"]\n'
                      'minutes = 1\nvaries = ["s"]\n')  # fmt: skip
    write_output("made", Output(HEAD, "| s | n |\n| 2.5 | 2 |"), tmp_path)
    monkeypatch.setattr(docs, "OUTPUTS", tmp_path)
    monkeypatch.setattr(docs, "entries", lambda: entries(listed))
    monkeypatch.setattr(docs, "read_output", lambda name: read_output(name, tmp_path))
    result = CliRunner().invoke(main, ["benchmark", "docs", "check"])
    assert result.exit_code == 0, result.output
    assert "timing  2.5, s: 2.5 -> 7.5 (x 3.00)" in result.output
    listed.write_text(listed.read_text().replace("7.5 | 2", "7.5 | 3"))
    assert CliRunner().invoke(main, ["benchmark", "docs", "check", "--only", "made"]).exit_code == 1
    listed.write_text(listed.read_text().replace("cat file", "false"))
    result = CliRunner().invoke(main, ["benchmark", "docs", "check"])
    assert result.exit_code == 1 and "ended with exit code 1" in result.output
    assert "it has: made" in CliRunner().invoke(main, ["benchmark", "docs", "check", "--only", "other"]).output


def test_a_table_of_a_csv_file(tmp_path):
    (tmp_path / "a.csv").write_text("name,value,n\nx,0.12345,3\ny,,4\n")
    result = CliRunner().invoke(
        main, ["benchmark", "docs", "table", str(tmp_path / "a.csv"), "--columns", "name,value"]
    )
    assert result.output.splitlines() == ["| name | value |", "|---|---|", "| x | 0.123 |", "| y |  |", ""]
    arguments = ["table", f"a={tmp_path}/a.csv", f"b={tmp_path}/a.csv", "--columns", "name", "--cell", "{value:+.1f} %"]
    result = CliRunner().invoke(main, ["benchmark", "docs", *arguments, "--scale", "100", "--where", "n == 3"])
    assert result.output.splitlines() == ["| name | a | b |", "|---|---|---|", "| x | +12.3 % | +12.3 % |", ""]
    result = CliRunner().invoke(main, ["benchmark", "docs", "table", str(tmp_path / "none.csv")])
    assert result.exit_code == 2 and "no such file" in result.output


def test_networks_are_compared_over_seeds(tmp_path):
    """Two seeds each, variances of the means 1: the half width is t(1 degree of freedom) x the root of 1 + 1."""
    rows = "".join(f"q,{name},{value},\n" for name, value in (("a", 0), ("a", 2), ("b", 10), ("b", 12), ("c", 5)))
    (tmp_path / "results.csv").write_text("question,network,top1,action\n" + rows)
    arguments = ["seeds", str(tmp_path / "results.csv"), "--by", "question,network", "--values", "top1,action"]
    output = CliRunner().invoke(main, ["benchmark", "docs", *arguments]).output
    assert "| q | b | 2 | 11.0 ± 1.4 (10.0 to 12.0) |" in output
    assert "| q | b minus a | top1 | +10.0 (-8.0 to +28.0) |" in output
    assert "c minus" not in output  # one seed has no spread


def test_quoted_text_survives_the_head(tmp_path):
    head = {**HEAD, "note": "it's"}
    assert quoted.read_output(write_output("a", Output(head, BODY), tmp_path).stem, tmp_path).head == head
