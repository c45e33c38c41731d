"""What the documents say is what the project does."""

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from docs.commands_reference import reference
from workbench.cli import main

ROOT = Path(__file__).parent.parent
INDEX = ROOT / "docs" / "README.md"
PAGES = sorted([*set((ROOT / "docs").glob("*.md")) - {INDEX}, ROOT / "workbench/networks/README.md"])
PROJECT = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY", "CODE_OF_CONDUCT")]
DOCUMENTS = [*PROJECT, INDEX, *PAGES]
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)


def commands_in(document: Path) -> list[list[str]]:
    """Every `sth ...` line of the document's shell blocks, and of its inline code."""
    text = document.read_text(encoding="utf-8")
    lines = [line for block in blocks(document, "sh") for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`(sth [^`]+)`", text)
    return [shlex.split(line, comments=True) for line in [*lines, *inline] if line.startswith("sth ")]


def below(group: click.Group) -> dict[str, click.Command]:
    context = click.Context(group)
    return {name: group.get_command(context, name) for name in group.list_commands(context)}


def assert_is_a_command(words: list[str], where: str) -> None:
    """`words` begin with "sth" and name a command and options that it has."""
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        children = below(command)
        assert rest[0] in children, f"{where}: no such command: {shlex.join(words)}"
        command, rest = children[rest[0]], rest[1:]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help", "--version"}
    for word in rest:
        if word.startswith("-"):
            assert word.split("=")[0] in known, f"{where}: {shlex.join(words)} has no option {word}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_command_shown_exists_and_takes_these_options(document):
    for words in commands_in(document):
        assert_is_a_command(words, document.name)


@pytest.mark.parametrize(
    ("document", "snippet"),
    [(d.name, s) for d in DOCUMENTS for s in blocks(d, "python")],
    ids=lambda value: value[:20].split("\n")[0],
)
def test_python_snippets_run(document, snippet, scenes_folder, tmp_path, monkeypatch):
    (tmp_path / "workbench").symlink_to(ROOT / "workbench")
    (tmp_path / "clip.mp4").symlink_to(next((scenes_folder / "val").glob("*.mp4")))
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, document, "exec"), {})


def test_the_command_reference_is_the_commands_own_help():
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == reference()


def test_every_command_has_help():
    def check(command: click.Command, name: str) -> None:
        result = CliRunner().invoke(main, [*name.split(), "--help"])
        assert result.exit_code == 0
        assert command.help, f"sth {name} has no help"
        if isinstance(command, click.Group):
            for name_below, child in below(command).items():
                check(child, f"{name} {name_below}".strip())

    check(main, "")


def anchors(document: Path) -> set[str]:
    """What `#...` can name in a document: its headings, as GitHub writes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_and_pictures_are_there(document):
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        file = document.parent / target if target else document
        assert file.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{document.name} links to {link}, which has no such heading"


def test_every_page_is_in_the_index():
    linked = {(INDEX.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", INDEX.read_text("utf-8"))}
    assert set(PAGES) <= linked


@pytest.mark.parametrize("document", [p for p in PAGES if p.name != "commands.md"], ids=lambda path: path.stem)
def test_every_page_begins_with_what_the_reader_can_do_after_it(document):
    assert document.read_text(encoding="utf-8").splitlines()[2].startswith("After this page you ")


def test_the_paths_and_names_of_the_architecture_exist():
    """Every path exists; every `name()` and every `Name` is in one of the Python files that its line names."""
    for line in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines():
        paths = re.findall(r"`((?:[a-z]\w+/)+(?:\w+\.\w+)?|app\.py)`", line)
        for path in paths:
            assert (ROOT / path).exists(), f"architecture.md names {path}"
        source = "".join((ROOT / path).read_text(encoding="utf-8") for path in paths if path.endswith(".py"))
        for name in re.findall(r"`(\w+\(\)|[A-Z]\w+)`", line) if source else ():
            found = rf"(def|class) {name[:-2]}\b" if name.endswith("()") else rf"\b{name}\b"
            assert re.search(found, source), f"architecture.md: there is no {name} in {', '.join(paths)}"
