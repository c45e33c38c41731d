"""Networks as conditions: the runs of one network that was trained with several seeds, and which conditions differ in
one thing alone."""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from typing import Any, TypeVar

from analysis.runs.run_directory import Run
from sth_core.datasets.table import APPEARANCE, DATASET_KINDS, TEMPORAL

# Section 4.1 sorts its six datasets; these are the names that people give them, without case and punctuation. Other
# datasets say it themselves: `kind` in the recipe's [data].
KNOWN_KINDS = {
    TEMPORAL: re.compile(r"(20bn)?(something){1,2}(v[12])?|(sth|ss)(v[12]|sthv[12])|(20bn)?jester(v1)?"),
    APPEARANCE: re.compile(r"(mini)?kinetics(200|400|600|700)?|k(400|600|700)|ucf101|hmdb51"),
}
Item = TypeVar("Item")
UNKNOWN = "not recorded"
SEED = "optimisation.seed"
# Facts by which conditions differ if they differ in their data, their p or their modality alone; * is any text.
OF_DATA = ("dataset", "data", "kind", "trained on", "recipe.data.*", "recipe.augment.*_swaps")
OF_P = ("p", "recipe.model.temporal_fraction")
OF_MODALITY = (
    "modality", "recipe.model.modality", "recipe.preprocessing.modality", "recipe.preprocessing.mean",
    "recipe.preprocessing.std", "recipe.preprocessing.flow_bound", "trained on",
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """Runs of one network on one dataset, which differ only in the seed of their training. `facts` are all that is
    known of how it was trained and recorded, by name; `left_out` are the earlier recordings of the same trained
    networks, each with the last one."""

    facts: tuple[tuple[str, str], ...]
    runs: tuple[Run, ...]
    left_out: tuple[tuple[Run, Run], ...] = ()

    def __getitem__(self, fact: str) -> str:
        return dict(self.facts).get(fact, "") or UNKNOWN

    @property
    def name(self) -> str:
        return f"{self['dataset']}, {self['network']}, p = {self['p']}, {self['modality']}"

    @property
    def has_recipe(self) -> bool:
        return any(name.startswith("recipe.") for name, _ in self.facts)

    def without(self, free: tuple[str, ...]) -> frozenset[tuple[str, str]]:
        """The facts but for those whose names match one of these patterns."""
        return frozenset(fact for fact in self.facts if not any(fnmatchcase(fact[0], pattern) for pattern in free))


def group_conditions(runs: list[Run]) -> list[Condition]:
    """Group the runs that differ only in their seed; a run whose seed is unknown is a condition of its own. Of several
    runs of one checkpoint, on the same data in the same way, the last is used."""
    result = []
    for group in grouped(runs, network_facts):
        recordings = [sorted(same, key=recording_order) for same in grouped(group, trained_network)]
        seeds = [same[-1].meta.get("seed") for same in recordings]
        only_seeds_differ = None not in seeds and len(set(seeds)) == len(seeds)
        conditions = [recordings] if only_seeds_differ else [[same] for same in recordings]
        for some in conditions:
            left_out = tuple((earlier, same[-1]) for same in some for earlier in same[:-1])
            result.append(Condition(network_facts(group[0]), tuple(same[-1] for same in some), left_out))
    return result


def recorded_again(conditions: Iterable[Condition], names: Mapping[Path, str] | None = None) -> dict[str, str]:
    """{run: why} of the runs that are not used, as a later one of these conditions is of the same network. Runs have
    these names, by path; without them their own, or their paths where two have the same name."""
    pairs = [pair for c in conditions for pair in c.left_out]
    own = {run.path: run.name for pair in pairs for run in pair}
    times = Counter(own.values())
    names = names or {path: name if times[name] == 1 else str(path) for path, name in own.items()}
    return {names[one.path]: f"the same network was recorded again as {names[last.path]}" for one, last in pairs}


def trained_network(run: Run) -> Hashable:
    """The same of two runs of one checkpoint; of a run that does not name its checkpoint, its own."""
    return run.meta.get("checkpoint_sha256") or id(run)


def recording_order(run: Run) -> tuple[str, str]:
    """Of runs, the last that was finished is the largest; of those that were not, the last by path."""
    return str(run.meta.get("finished") or ""), str(run.path)


def grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    """The items of equal keys together, in the order in which they come first."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def network_facts(run: Run) -> tuple[tuple[str, str], ...]:
    """What a run says of its network, training and data, but for the seed; sorted by name."""
    m = run.meta
    facts = {"network": f"{m.get('arch', '')} {m.get('conv', 'sth')}", "p": run.p, "modality": run.modality}
    facts |= {"kind": dataset_kind(run), "trained on": str(m.get("trained_on", ""))}
    for name in ("dataset", "data", "split", "width", "frames", "start"):
        facts[name] = str(m.get(name, ""))
    known = flattened({"protocol": m.get("protocol", {}), "recipe": m.get("recipe") or UNKNOWN})
    facts |= {name: value for name, value in known.items() if not name.endswith(SEED)}
    return tuple(sorted(fact for fact in facts.items() if fact[1]))  # what is empty is as what is not said


def flattened(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested tables as {"section.key": text}; of paths only the names, as copies lie elsewhere."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = Path(value).name if key == "checkpoint" and isinstance(value, str) else str(value)
    return found


def dataset_kind(run: Run) -> str:
    """ "temporal", "appearance", or "" if it is unknown: as run.json says, else temporal where clips are played both
    ways, else as Section 4.1 sorts known datasets."""
    if kind := run.meta.get("kind", ""):
        return str(kind)
    if run.meta.get("direction"):
        return TEMPORAL
    name = re.sub(r"[\W_]", "", run.meta["dataset"].lower())
    return next((kind for kind, names in KNOWN_KINDS.items() if names.fullmatch(name)), "")


@dataclass(frozen=True)
class Pair:
    """Two conditions that differ in one thing: what is compared, in words, and `first` less `second`."""

    name: str
    first: Condition
    second: Condition


@dataclass(frozen=True)
class Pairs:
    """The pairs that differ in one thing alone, and {name: why not} of those that differ in more."""

    compared: list[Pair]
    left_out: dict[str, str]


def pairs_of(
    conditions: list[Condition],
    thing: str,
    free: tuple[str, ...],
    same: tuple[str, ...],
    sides: Callable[[list[Condition]], list[tuple[Condition, Condition]]],
) -> Pairs:
    """The pairs that `sides` makes of conditions that are alike but for the facts `free`.

    Those of conditions that are alike in the facts `same` alone are left out, unless other conditions with the same
    two values of `thing` are compared."""
    compared: list[Pair] = []
    left_out: dict[str, str] = {}
    for group in grouped([c for c in conditions if c.has_recipe], lambda c: c.without(free)):
        compared += [named_pair(thing, same, *pair) for pair in sides(group)]
    done = {pair.name for pair in compared}
    for group in grouped(conditions, lambda c: tuple(c[name] for name in same)):
        for first, second in sides(group):
            if (pair := named_pair(thing, same, first, second)).name not in done:
                left_out.setdefault(pair.name, difference(first, second, free))
    return Pairs(compared, left_out)


def named_pair(thing: str, same: tuple[str, ...], first: Condition, second: Condition) -> Pair:
    fixed = ", ".join(f"p = {first[name]}" if name == "p" else first[name] for name in same)
    return Pair(f"{fixed}: {'p = ' * (thing == 'p')}{first[thing]} less {second[thing]}", first, second)


def difference(first: Condition, second: Condition, free: tuple[str, ...]) -> str:
    """In what else two conditions differ, in words."""
    if not (first.has_recipe and second.has_recipe):
        return "it is not recorded how one of them was trained; record a network that was trained by a recipe"
    names = sorted({name for name, _ in first.without(free) ^ second.without(free)})
    listed = [f"{name.removeprefix('recipe.')} ({first[name]}, {second[name]})" for name in names[:3]]
    return f"they also differ in {', '.join(listed)}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def pairs_of_proportions(conditions: list[Condition]) -> Pairs:
    """Each p with the next larger p, of networks that are else alike."""

    def sides(group: list[Condition]) -> list[tuple[Condition, Condition]]:
        ordered = sorted(group, key=lambda c: Fraction(c["p"]))
        return [(small, large) for small, large in pairwise(ordered) if small["p"] != large["p"]]

    return pairs_of(conditions, "p", OF_P, ("dataset", "network", "modality"), sides)


def pairs_of_kinds(conditions: list[Condition]) -> Pairs:
    """Each temporal dataset with each appearance-related one, of networks that are else alike."""
    return pairs_of(conditions, "dataset", OF_DATA, ("network", "p", "modality"), two_sided("kind", *DATASET_KINDS))


def pairs_of_modalities(conditions: list[Condition]) -> Pairs:
    """Flow with RGB, of networks that are else alike."""
    same = ("network", "dataset", "p")
    return pairs_of(conditions, "modality", OF_MODALITY, same, two_sided("modality", "Flow", "RGB"))


def two_sided(fact: str, *values: str) -> Callable[[list[Condition]], list[tuple[Condition, Condition]]]:
    def sides(group: list[Condition]) -> list[tuple[Condition, Condition]]:
        first, second = ([c for c in group if c[fact] == value] for value in values)
        return list(product(first, second))

    return sides
