"""The sizes at which figures are printed or projected."""

from dataclasses import dataclass

WIDE_LETTER = 0.62  # of the font's size: a letter's mean width in DejaVu Sans, the widest of the usual fonts


@dataclass(frozen=True)
class FigureSize:
    """Width and height of a plot, the most height of a figure of many rows (inches), the size of text (points)."""

    name: str
    title: str
    width: float
    height: float
    tallest: float
    text: float

    @property
    def pixels(self) -> int:
        """The width in CSS pixels."""
        return round(96 * self.width)

    @property
    def font(self) -> float:
        """The size of text in CSS pixels."""
        return self.text * 96 / 72

    def letters(self, pixels: float) -> int:
        """How many letters have room."""
        return max(4, int(pixels / (WIDE_LETTER * self.font)))


SIZES = {
    size.name: size
    for size in (
        FigureSize("column", "one column of a paper (3.25 in, 8 pt)", 3.25, 2.2, 9, 8),
        FigureSize("page", "two columns of a paper (6.9 in, 8 pt)", 6.9, 2.6, 9, 8),
        FigureSize("slides", "slides (12 in, 20 pt)", 12, 5, 7.2, 20),
    )
}
DEFAULT_SIZE = "page"
