"""The numbers that README.md and docs/ quote, and the outputs in docs/outputs/ that they come from.

An output is a Markdown file: a block of TOML (command, date, commit, device, versions) and what the command printed.
Two comments in a page name outputs:

    <!-- output: decoding 2 -->     the second table of docs/outputs/decoding.md; `sth benchmark docs render` writes it,
                                    up to <!-- end -->
    <!-- numbers: decoding -->      each number of the next paragraph, list or table is in docs/outputs/decoding.md

A third, `<!-- not measured: REASON -->`, marks a block whose numbers are settings, definitions or another's.
"""

import ast
import json
import operator
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
OUTPUTS = REPOSITORY / "docs" / "outputs"
HEAD = ("command", "date", "commit", "device", "versions")
RENDERED = re.compile(r"(<!-- output: (\S+)(?: (\d+))? -->\n).*?(<!-- end -->)", re.S)
COMMENT = re.compile(r"<!-- (numbers|not measured): (.*?) -->", re.S)
NUMBER = r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?"
RANGE = rf"{NUMBER}(?: %)?(?: to | or |, | ± ){NUMBER}"
SKIPPED = re.compile(
    r"`(?![^`]*\d\.\d+ \()[^`]*`"  # code, unless it is what a command prints: `top-1: 0.958 (0.356 to 1.000)`
    r"|\]\([^)]*\)|https?://\S+"  # targets of links
    r"|\b(?:Table|Figure|Section|Eq\.|Chapter|seed)s? \d+(?:(?:, \d+)*(?:,? (?:to|and|or) \d+))?(?:\.\d+)*"
    r"|\d{4}-\d\d-\d\d|\d+\.\d+\.\d+\S*|\d+e-?\d+"  # dates, versions, powers of ten
    r"|\b(?:19|20)\d\d\b|\b95 %|\bp < 0\.05"  # years, the level of intervals
    r"|\b1/\d+|\b[A-Za-z_αβ][\w.-]*\d[\w.+-]*"  # proportions p, names with digits (ResNet-18, layer4.1.conv2, x86_64)
)
MEASURED = re.compile(  # a decimal number, or one with a unit: some comment must say where it comes from
    r"(?<![\w.])(?:\d+\.\d+(?![\w.])|\d+(?:,\d{3})* (?:%|s\b|seconds|minutes|hours|ms\b|MB|GB|MiB|GiB|points|times as))"
)
CONSTANTS = ("1", "60", "100", "1000")  # of a calculation: a share of 1, minutes, percent, thousands
ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@dataclass(frozen=True)
class Output:
    """What a command printed, and where, when and on which commit it did."""

    head: dict[str, str]
    body: str

    @property
    def tables(self) -> list[str]:
        """Markdown tables as they are, drawn ones (of `rich`) in a code block."""
        found = re.findall(r"(?:^\|.*\|$\n?)+|(?:^[┏┃┡│├└].*$\n?)+", self.body, re.M)
        return [f"{t.rstrip()}\n" if t[0] == "|" else f"```text\n{t.rstrip()}\n```\n" for t in found]

    @property
    def lines(self) -> list[list[float]]:
        """The numbers of each line, those of the head included."""
        texts = [*self.head.values(), *self.body.splitlines()]
        return [[_value(n) for n in re.findall(NUMBER, text)] for text in texts]


def read_output(name: str, folder: Path = OUTPUTS) -> Output:
    """The output of docs/outputs/NAME.md; ValueError if its head is not complete."""
    text = (folder / f"{name}.md").read_text(encoding="utf-8")
    found = re.fullmatch(r"```toml\n(.*?)```\n\n(.*)", text, re.S)
    head = tomllib.loads(found[1]) if found else {}
    if found is None or (missing := [key for key in HEAD if not head.get(key)]):
        raise ValueError(f"{name}.md does not begin with a block of TOML that has {', '.join(missing or HEAD)}")
    return Output(head, found[2])


def write_output(name: str, output: Output, folder: Path = OUTPUTS) -> Path:
    """Write docs/outputs/NAME.md; returns its path."""
    head = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in output.head.items())
    path = folder / f"{name}.md"
    path.write_text(f"```toml\n{head}```\n\n{output.body.strip()}\n", encoding="utf-8")
    return path


def rendered(page: str, folder: Path = OUTPUTS) -> str:
    """The page's text with every table that it quotes as the output has it now."""

    def table(found: re.Match[str]) -> str:
        begin, name, number, end = found.groups()
        tables, index = read_output(name, folder).tables, int(number or 1) - 1
        if index >= len(tables):
            raise ValueError(f"{name}.md has no table {index + 1}")
        return begin + tables[index] + end

    return RENDERED.sub(table, page)


def wrong_numbers(page: str, folder: Path = OUTPUTS) -> list[str]:
    """A sentence for each number that is not in the outputs which the comment before its block names."""
    return [
        sentence
        for kind, rest, block in commented_blocks(page)
        if kind == "numbers"
        for sentence in _wrong_in(rest, block, folder)
    ]


def uncovered_numbers(page: str) -> list[str]:
    """The first words of each block with measured numbers (decimal, or with a unit) and no comment on their source."""
    text = re.sub(r"^```.*?^```$", "", RENDERED.sub("", page), flags=re.M | re.S)
    for _, _, block in commented_blocks(text):
        text = text.replace(block, "", 1)
    blocks = re.split(r"\n\s*\n", COMMENT.sub("", text))
    return [block.strip()[:70] for block in blocks if MEASURED.search(SKIPPED.sub("", block))]


def commented_blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """(numbers or not measured, what follows the colon, the block after it) of every comment."""
    for found in COMMENT.finditer(page):
        block = re.match(r"\s*(.*?)(?=\n\s*\n|\n```|\n<!-- |\Z)", page[found.end() :], re.S)
        yield found[1], found[2], block[1] if block else ""


def _wrong_in(rest: str, block: str, folder: Path) -> Iterator[str]:
    """The comment is `NAME NAME; 11.7 = 27.2 / 2.33; given: 16, 24`; the last two parts may be absent."""
    names, *parts = [part.strip() for part in rest.split(";")]
    lines = [line for name in names.split() for line in read_output(name, folder).lines]
    given: set[str] = set()
    for part in parts:
        number, _, expression = part.partition("=")
        if part.startswith("given:"):
            given |= set(re.findall(NUMBER, part))
            continue
        given.add(number.strip())
        operands = [value for value in re.findall(NUMBER, expression.replace("-", " - ")) if value not in CONSTANTS]
        yield from (f"{n} of {part!r} is not in {names}" for n in operands if not _on_one_line([n], lines))
        if not _equal(number, _calculated(expression)):
            yield f"{part}: it is {_calculated(expression):.4g}"
    for numbers in _groups(block):
        left = [number for number in numbers if number not in given]
        if left and not _on_one_line(left, lines):
            yield f"{' and '.join(left)} {'is' if len(left) == 1 else 'are'} not on one line of {names}: {block[:60]!r}"


def _groups(block: str) -> list[list[str]]:
    """The numbers of a text, those of `1.0 (0.9 to 1.1)`, of `1.0 ± 0.1` and of one cell of a table together."""
    text = SKIPPED.sub(" ", block)
    cells = text.split("|") if text.startswith("|") else [text]
    group = rf"{NUMBER}(?: %)?(?: ± {NUMBER})?(?: \([^()\d]*{RANGE})?"
    return [re.findall(NUMBER, found) for cell in cells for found in re.findall(group, cell)]


def _on_one_line(numbers: list[str], lines: list[list[float]]) -> bool:
    return any(all(any(_equal(number, value) for value in line) for number in numbers) for line in lines)


def _equal(number: str, value: float) -> bool:
    """Whether a value is written as this number, rounded to its digits; a number without a sign is any of both."""
    number = number.strip().replace(",", "")
    half = 0.5 * 10.0 ** -len(number.partition(".")[2]) + 1e-9
    return abs((value if number[0] in "+-" else abs(value)) - float(number)) <= half


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def _calculated(expression: str) -> float:
    def value(node: ast.expr) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                return float(ARITHMETIC[type(op)](value(left), value(right)))
        raise ValueError(f"{expression}: only numbers, + - * / and brackets")

    return value(ast.parse(expression.strip(), mode="eval").body)
