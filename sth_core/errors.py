"""What a user is told."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any
from unicodedata import category

NOT_FINITE = "the network's scores of it are not finite (NaN or infinity)"  # so no class is the best
LONGEST_VALUE = 100  # characters of a value in a message
# Characters that are not seen, or change the line around them: control, direction of writing, line ends, half a pair.
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
JOINERS = "\u200c\u200d"  # which words of some languages and emoji need


class UserError(Exception):
    """A mistake that its maker can mend: the message says what was wrong, what was given, what to do."""


class OtherWork(UserError):
    """A folder holds other work, or what cannot be told; `found` says so without the ways out of it."""

    def __init__(self, found: str, ways: str) -> None:
        super().__init__(f"{found}; {ways}")
        self.found = found


def first_few(names: Sequence[str], most: int = 3) -> str:
    """The first of many names, for a sentence: "a, b, c, ..."."""
    return ", ".join([*names[:most], *["..."] * (len(names) > most)])


def shorten(value: Any) -> str:
    """A value as Python writes it; of a long one the beginning."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # lists in lists in lists, or a number of thousands of digits
        return f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def did_you_mean(given: str, possible: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest possible one in brackets, or nothing."""
    near = get_close_matches(given, list(possible), 1) if len(given) <= LONGEST_VALUE else []
    return f" (did you mean {near[0]!r}?)" if near else ""


def visible(text: str) -> str:
    """A text in which every character is seen: a line break as \\n, a mark that turns the direction as \\u202e."""
    return "".join(repr(c)[1:-1] if category(c) in UNSEEN and c not in JOINERS else c for c in text)
