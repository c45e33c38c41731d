"""Figures of the size of a column, of a page and of slides: measured in the PDF, and in the SVG by a browser."""

import ctypes
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium
import pytest
from click.testing import CliRunner
from playwright.sync_api import Browser

from analysis.report.figure_sizes import SIZES
from analysis.report.image_export import PICTURES
from analysis.report.plots import short_layers
from tests.tiny import write_run
from workbench.cli import main

pytestmark = [pytest.mark.browser, pytest.mark.long]
SMALLER = 0.7  # Plotly's subscripts
LONG = "a data set with a rather long name: number one & <b>two</b>"
TEXTS = """() => {
    const page = document.documentElement.getBoundingClientRect()
    const shown = [...document.querySelectorAll('svg text')].filter(t => t.textContent.trim())
    return [[page.width, page.height], shown.map(t => {
        const a = t.getBoundingClientRect()
        return [t.textContent, a.left, a.top, a.right, a.bottom]
    })]
}"""


@pytest.fixture(scope="module")
def runs(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo's, and two networks of 53 layers on data sets with long names."""
    many = tmp_path_factory.mktemp("many") / "runs"
    for i, name in enumerate((LONG, "b" * 70)):
        for p in (1 / 2, 1 / 4):
            layers = [[0.3 + 0.1 * i + 0.005 * j + k for j in range(53)] for k in (0, 0.1)]
            write_run(many / f"{i}{p}", layers, dataset=name, temporal_fraction=p)
    return {"demo": demo / "runs", "many": many}


@pytest.mark.parametrize("of", ["demo", "many"])
@pytest.mark.parametrize("name", SIZES)
def test_a_picture_has_its_size_and_its_letters_and_nothing_overlaps(
    name: str, of: str, runs: dict[str, Path], tmp_path: Path, browser: Browser
) -> None:
    size = SIZES[name]
    result = CliRunner().invoke(main, ["figures", str(runs[of]), "-o", str(tmp_path), "--for", name])
    assert result.exit_code == 0 and not result.stderr.count("cannot be drawn"), result.output
    pictures = sorted(tmp_path.glob("figure*.pdf"))
    assert len(pictures) == (6 if of == "demo" else 3)
    page = browser.new_page()
    for pdf in pictures:
        document = pypdfium2.PdfDocument(pdf)
        assert len(document) == 1
        width, height = document[0].get_size()
        assert width / 72 == pytest.approx(size.width, abs=0.01)
        assert height / 72 <= size.tallest or of == "many"  # long names need more
        letters, embedded = text_of(document[0])
        assert embedded and letters
        assert {round(s, 1) for s in letters} <= {size.text, round(size.text * SMALLER, 1)}, pdf.name
        page.goto(pdf.with_suffix(".svg").as_uri())
        (width, height), texts = page.evaluate(TEXTS)
        for i, (text, left, top, right, bottom) in enumerate(texts):
            assert left >= -1 and top >= -1 and right <= width + 1 and bottom <= height + 1, (pdf.name, text, "is cut")
            for other, x0, y0, x1, y1 in texts[:i]:
                over = min(right, x1) - max(left, x0), min(bottom, y1) - max(top, y0)
                assert min(over) <= 2, (pdf.name, text, other, over)
        shown = " ".join(text for text, *_ in texts)
        assert "_T" not in shown and "Figure" not in shown and "95 %" not in shown
    page.close()


def text_of(page: pypdfium2.PdfPage) -> tuple[set[float], bool]:
    """The sizes of a page's letters in points, and whether all their fonts are embedded."""
    sizes, embedded = set(), True
    for item in page.get_objects(max_depth=8):
        if item.type == pdfium.FPDF_PAGEOBJ_TEXT:
            size, matrix = ctypes.c_float(), item.get_matrix()
            pdfium.FPDFTextObj_GetFontSize(item.raw, ctypes.byref(size))
            sizes.add(round(size.value * (matrix.a**2 + matrix.b**2) ** 0.5, 2))
            embedded &= bool(pdfium.FPDFFont_GetIsEmbedded(pdfium.FPDFTextObj_GetFont(item.raw)))
    return sizes, embedded


@pytest.mark.parametrize(
    "names,short",
    [
        (["layer1.0.conv1", "layer4.1.conv2"], ["1.0.1", "4.1.2"]),
        (["features.3", "features.7"], ["3", "7"]),
        (["conv", "fc"], ["conv", "fc"]),
        (["a.1", "b.1"], ["a.1", "b.1"]),
    ],
)
def test_layers_have_short_names_that_tell_them_apart(names: list[str], short: list[str]) -> None:
    assert short_layers(names) == short


def test_all_kinds_are_promised() -> None:
    assert set(PICTURES) == {"pdf", "svg", "png"}
