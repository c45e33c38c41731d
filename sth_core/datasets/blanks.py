"""Blanks and characters that are not seen, which belong to no name, path or label when they stand around it."""

import unicodedata
from collections.abc import Iterable
from itertools import combinations

# Not str.strip()'s characters: NEL, form feed, ... may be part of a name. Spaces of all widths, zero-width characters,
# byte order marks, marks of the direction of writing.
BLANK = " \t\u00a0\u1680\u202f\u205f\u2060\u3000\ufeff" + "".join(
    map(chr, (*range(0x2000, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)


def looks(label: str) -> str:
    """The same for labels that are hard to tell apart: upper and lower case, blanks, characters that are not seen."""
    seen = "".join(" " if character in BLANK else character for character in unicodedata.normalize("NFKC", label))
    return " ".join(seen.split()).casefold()


def lookalike_classes(labels: Iterable[str]) -> tuple[str, ...]:
    """A note for every two classes that look alike."""
    alike: dict[str, list[str]] = {}
    for label in sorted(set(labels) - {""}):
        alike.setdefault(looks(label), []).append(label)
    return tuple(
        f"the classes {one!r} and {other!r} differ only in case or in characters that are not seen"
        for names in alike.values()
        for one, other in combinations(names, 2)
    )
