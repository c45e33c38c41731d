"""What a report is made from: a folder of runs, the views saved beside them, and how their networks are opened."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.attention.alpha_matrix import has_signal, read_signal
from analysis.attention.clip_profiles import clip_overview
from analysis.runs.left_out import why_unreadable
from analysis.runs.notes import tag_counts
from analysis.runs.run_directory import Run, find_runs, location
from analysis.runs.saved_views import FOLDER, SavedView, saved_views
from sth_core.checkpoint import Checkpoint
from sth_core.errors import UserError, did_you_mean

OF_A_RUN = ("run", "of", "a", "b", "more", "runs", "with")  # the parameters of a link that name runs


@dataclass(frozen=True)
class ReportSources:
    """`folder` is that below which links name the runs, `runs` all of it by these names, `chosen` those that the report
    is about. `open_network` gives a run's network; `why_not_readable` says why a video may not be read."""

    folder: Path
    runs: Mapping[str, Run]
    chosen: Mapping[str, Run]
    open_network: Callable[[Run], Checkpoint]
    why_not_readable: Callable[[str | Path], str] = lambda path: ""

    def readable(self, name: str) -> Run:
        """Raises UserError: there is no such run, or nothing of it can be shown."""
        if name not in self.runs:
            raise UserError(f"There is no run {name} in {self.folder}: it has been removed or renamed.")
        if reason := why_unreadable(self.runs[name]):
            raise UserError(f"The run {name} cannot be shown: {reason}.")
        return self.runs[name]

    def named(self, view: SavedView, key: str = "run") -> Run:
        """The run that a view names. Raises UserError: it names none, or one that cannot be shown."""
        if not (name := first_value(view.query, key)):
            raise UserError(f"The view names no run ({key}).")
        return self.readable(name)

    def all_named(self, view: SavedView, key: str = "runs") -> tuple[dict[str, Run], list[str]]:
        """The runs that a view names, all that were chosen if it names none, and why others cannot be shown."""
        found, problems = {}, []
        for name in view.query.get(key) or self.chosen:
            try:
                found[name] = self.readable(name)
            except UserError as error:
                problems.append(str(error))
        return found, problems


def first_value(query: Mapping[str, Sequence[str]], key: str, default: str = "") -> str:
    """The first value of a parameter of a link."""
    return next(iter(query.get(key, ())), default)


def overview_of(run: Run) -> pd.DataFrame:
    """`clip_overview`, with attention if the run has some."""
    return clip_overview(run, read_signal(run) if has_signal(run) else None)


def find_sources(
    paths: Iterable[Path], open_network: Callable[[Run], Checkpoint], why_not_readable: Callable[[str | Path], str]
) -> ReportSources:
    """The runs at or below these paths. Of single runs the folder is the nearest above them that keeps views.

    Raises:
        UserError: there is no run, or they lie in several folders that keep views.
    """
    homes, chosen = dict[Path, None](), list[Run]()
    for path in paths:
        runs = find_runs(path)
        if not runs:
            raise UserError(f"no runs in {path}; `sth record` and `sth evaluate` make them")
        chosen += runs
        homes[home_of(path, runs)] = None
    if len(homes) > 1:
        raise UserError(
            f"these runs lie in several folders: {', '.join(map(str, homes))}; make a report of each, or name a folder "
            "that holds them all"
        )
    [home] = homes
    found = find_runs(home) if isinstance(home, Path) and (home / FOLDER).is_dir() else chosen
    names = {real_path(run): name_of(run, home) for run in found}
    every = {names[real_path(run)]: run for run in found}
    about = {names.get(real_path(run), str(run.path)): run for run in chosen}
    return ReportSources(home, about | every, about, open_network, why_not_readable)


def real_path(run: Run) -> Path:
    return run.path.resolve() if isinstance(run.path, Path) else run.path


def home_of(path: Path, runs: Sequence[Run]) -> Path:
    if not isinstance(where := location(path), Path):
        return where
    where = where.resolve()
    above = next((folder for folder in (where, *where.parents) if (folder / FOLDER).is_dir()), None)
    return above or (where.parent if where in [real_path(run) for run in runs] else where)


def name_of(run: Run, home: Path) -> str:
    """By which links name it."""
    for path in (run.path, real_path(run)):
        if path.is_relative_to(home):
            return str(path.relative_to(home))
    return str(run.path)


def chosen_views(sources: ReportSources, names: Sequence[str], say: Callable[[str], object]) -> list[SavedView]:
    """The views of these names, in this order; without names all that are of chosen runs, the oldest first. `say` is
    told what is left out.

    Raises:
        UserError: there is no view of a name.
    """
    views = saved_views(sources.folder, lambda sentence: say(f"left out: {sentence}"))[::-1]
    known = {view.name: view for view in views}
    for name in names:
        if name not in known:
            there = f"; there are: {', '.join(known)}" if known else "; none is saved there"
            raise UserError(f"no view {name!r} beside {sources.folder}{did_you_mean(name, known)}{there}")
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    others = sources.runs.keys() - sources.chosen.keys()
    of_others = [view for view in views if others & runs_of(view)]
    for view in of_others:
        say(f"left out: the view {view.name}, which shows other runs; --view {view.name!r} takes it")
    return [view for view in views if view not in of_others]


def refuse_unknown_tags(sources: ReportSources, tags: Sequence[str]) -> None:
    """Refuse a tag that no clip of a chosen run has; not where notes cannot be read, which may have it.

    Raises:
        UserError: there is no clip with a tag.
    """
    known = dict[str, None]()
    for run in sources.chosen.values() if tags else ():
        try:
            known |= dict.fromkeys(tag_counts(run))
        except UserError:
            return  # the report says so
    for tag in tags:
        if tag not in known:
            there = f"; there are: {', '.join(known)}" if known else "; none of their clips has one"
            raise UserError(f"no clip of these runs has the tag {tag!r}{did_you_mean(tag, known)}{there}")


def runs_of(view: SavedView) -> set[str]:
    """The names of the runs that a view shows."""
    return {name for key in OF_A_RUN for name in view.query.get(key, ())}
