"""Dataclasses whose fields check their values: each is of the type, and in the range, that its annotation says.

    frames: Annotated[int, Between(1, 1024)] = 8

A dataclass that calls `check_fields` in its `__post_init__` cannot hold another value, whether it comes from a recipe,
a checkpoint or Python. `build_from` makes one of a table of names and values from outside.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from sth_core.errors import UserError, did_you_mean, shorten


class BadValue(UserError, ValueError):
    """A value that a field cannot have; a ValueError for who calls from Python."""


@dataclass(frozen=True)
class Between:
    """A range of finite numbers; `low` is not in it if they must be `above` it, `high` if they must be `below` it."""

    low: float
    high: float
    above: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """False also for NaN."""
        high_enough = self.low < value if self.above else self.low <= value
        return high_enough and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        low = f"above {self.low:,} and" if self.above else f"from {self.low:,} to"
        high = "below" if self.below else "at most" if self.above else ""
        return " ".join(filter(None, (low, high, f"{self.high:,}")))


@dataclass(frozen=True)
class Items:
    """How many items a list may have, or how many characters a text."""

    low: int
    high: int

    def holds(self, value: Collection[Any]) -> bool:
        return self.low <= len(value) <= self.high

    def __str__(self) -> str:
        return f"of {self.low:,} to {self.high:,}" if self.low else f"of at most {self.high:,}"


@dataclass(frozen=True)
class OneOf:
    """The texts that are possible."""

    names: Collection[str]

    def holds(self, value: str) -> bool:
        return value in self.names

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}" if len(self.names) > 1 else "".join(self.names)


PRECISIONS = ("fp32", "tf32", "bf16", "fp16")  # of a network's arithmetic (sth_core/precision.py)
Text = Annotated[str, Items(0, 4096)]
Label = Annotated[str, Items(1, 1000)]  # the name of a class
NAMES: dict[type, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
NAMES |= {dict: "a table of names and values", list: "a list", NoneType: "nothing"}
UNITS = {str: " characters", tuple: " items"}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is one of those that an annotation describes; a list is a tuple, a whole number is a number."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return fits(value, inner[0]) and all(mark.holds(value) for mark in inner[1:])
    if kind in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if kind is tuple:
        if not isinstance(value, list | tuple):
            return False
        each = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return len(value) == len(each) and all(map(fits, value, each))
    if isinstance(value, bool) or hint is bool:
        return isinstance(value, bool) and hint is bool
    if isinstance(value, str):
        return hint is str and not has_surrogates(value)
    return isinstance(value, (int, float) if hint is float else hint)


def has_surrogates(text: str) -> bool:
    """Whether it is no text: it has halves of characters, which no file can hold."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def describe_values(hint: Any) -> str:
    """The values that an annotation describes, as the end of "must be ...": "a whole number from 1 to 1,024"."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        base = get_origin(inner[0]) or inner[0]
        if isinstance(inner[1], OneOf):
            return str(inner[1])
        marks = "".join(f" {mark}{UNITS[base] if isinstance(mark, Items) else ''}" for mark in inner[1:])
        what, comma, each = describe_values(inner[0]).partition(",")
        return f"{what}{marks}{comma}{each}"
    if kind in (Union, UnionType):
        return ", or ".join(map(describe_values, inner))
    if kind is tuple:
        count = "" if inner[-1] is Ellipsis else f" of {len(inner)}"
        return f"a list{count}, each {describe_values(inner[0])}"
    return NAMES[hint]


@cache
def hints_of(kind: type) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def check_fields(instance: Any) -> None:
    """Lists become tuples. Raises BadValue: a field has a value that its annotation does not describe."""
    kind: Any = type(instance)
    for name, hint in hints_of(kind).items():
        value = getattr(instance, name)
        if not fits(value, hint):
            raise BadValue(f"{name} must be {describe_values(hint)}, got {shorten(value)}")
        object.__setattr__(instance, name, as_tuples(value))


def as_tuples(value: Any) -> Any:
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def refuse_unknown_keys(given: Iterable[str], possible: Collection[str], what: str, hint: str = "") -> None:
    """Raises UserError: one of the names that are given is not possible; `hint` is the end of the sentence."""
    for key in given:
        if key not in possible:
            near = did_you_mean(key, possible)
            raise UserError(f"{what} {shorten(key)}{near}; possible: {', '.join(possible)}{hint}")


def build_from(kind: type, values: Mapping[str, Any], where: str, hint: str = "") -> Any:
    """The dataclass `kind` of values from outside. Raises UserError: an unknown key, a missing one, or a value that a
    field cannot have; `where` begins the sentence, and `hint` ends it."""
    possible = [field.name for field in fields(kind)]
    refuse_unknown_keys(values, possible, f"{where}: unknown key", hint)
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in needed if name not in values]:
        raise UserError(f"{where}: missing {', '.join(missing)}{hint}")
    try:
        return kind(**values)
    except (UserError, ValueError) as error:
        raise UserError(f"{where}: {error}{hint}") from error
