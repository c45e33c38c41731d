"""The files that people and services look for: they are what their schemas ask for, agree with pyproject.toml, and call
what exists."""

import re
import shlex
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tests.test_docs import assert_is_a_command

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCHEMAS = {
    "CITATION.cff": "vendor.citation-file-format",
    ".github/ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/idea.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "compose.yaml": "vendor.compose-spec",
    "compose.cuda.yaml": "vendor.compose-spec",
    **{str(workflow.relative_to(ROOT)): "vendor.github-workflows" for workflow in WORKFLOWS},
}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_is_what_its_schema_asks_for(name: str) -> None:
    check = pytest.importorskip("check_jsonschema", reason="the extra [dev] is not installed")
    found = CliRunner().invoke(check.main, ["--builtin-schema", SCHEMAS[name], str(ROOT / name)])
    assert found.exit_code == 0, found.output


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d\S+)\] - (\S+)$", changes, re.M)
    assert releases[0] == (citation["version"], str(citation["date-released"]))
    assert releases[0][0] == VERSION
    days = [date.fromisoformat(day) for _, day in releases]
    assert days == sorted(days, reverse=True)


def test_the_changelog_has_the_headings_of_keep_a_changelog() -> None:
    headings = re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert set(headings) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_citation_of_the_paper_is_that_of_the_readme() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["references"][0]
    bibtex = (ROOT / "README.md").read_text(encoding="utf-8").replace("{STH}", "STH")
    authors = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    assert authors in bibtex and paper["title"] in bibtex
    assert paper["identifiers"][0]["value"] in bibtex


def lines_run_by(workflow: Path) -> list[str]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    return [line.strip() for job in jobs for step in job["steps"] for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_what_exists(workflow: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for line in lines_run_by(workflow):
        words = shlex.split(line, comments=True) if re.match(r"make |sth |python -m workbench ", line) else []
        if words[:1] == ["make"]:
            assert words[1] in targets, line
        elif words:
            assert_is_a_command(["sth", *words[1 if words[0] == "sth" else 3 :]], workflow.name)


def test_every_python_that_is_supported_is_tested() -> None:
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text(encoding="utf-8"))["jobs"]["tests"]
    matrix = tests["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13"] and set(matrix["packages"]) == {"newest", "oldest"}


def test_pre_commit_runs_programs_of_the_tested_versions() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)
    for hook in hooks:
        assert hook["entry"].split()[0].removeprefix(".venv/bin/") in pinned


@pytest.mark.parametrize("name", ["SECURITY.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(name: str) -> None:
    for path in re.findall(r"`([\w.]+/[\w./]+)`", (ROOT / name).read_text(encoding="utf-8")):
        assert (ROOT / path).exists() or path.startswith(".venv/"), f"{name} names {path}"
