"""What every page needs: the runs, and controls whose choice is in the URL, so that a link opens the same view."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import streamlit as st

from analysis.attention.run_summary import RunSummary, best_first
from analysis.runs.large_runs import READ_WHOLE, sample_sentence, sampled
from analysis.runs.left_out import some_names, unread_sentence, why_unreadable
from analysis.runs.run_directory import Run
from sth_core.errors import UserError, visible
from sth_core.files import error_sentence
from workbench.components.cached import all_summaries, cached_result, listed_runs
from workbench.roots import runs_folder

Option = TypeVar("Option")
MOST_RUNS, MOST_CLIPS = 8, 400_000  # that a page with figures of many runs shows at first
READ_ALL = "read_all"  # in the URL: all clips of large runs are read
WORD_JOINER = "\u2060"
# What Streamlit replaces after it has read the Markdown: icons, arrows and such between blanks, addresses.
REPLACED = re.compile(r":material/|:streamlit|(?<!\S)(?:<->|<-|->|--|>=|<=|~=)(?!\S)|://|\bwww\.|(?<=\w)@(?=\w)", re.I)

RUNS_PAGE, ATTENTION_PAGE, PREDICTIONS_PAGE, CLIP_PAGE, COMPARE_PAGE, EXPERIMENTS_PAGE, OWN_PAGE = (
    f"workbench/pages/{name}.py"
    for name in ("runs", "attention", "predictions", "clip", "compare", "experiments", "own")
)
OF_ATTENTION = ("runs", "show", "of", "tour")  # parameters of the Attention page, which was the first one
RENAMED_VALUES = {
    ("show", "Statements"): "Hypotheses",
    ("show", "Right and wrong"): "Correct and misclassified",
    ("outcome", "wrong"): "misclassified",
    ("changed", "both right"): "both correct",
    ("changed", "both wrong"): "both misclassified",
    ("alpha", "no temporal part: (α_S, 0)"): "α_T = 0",
    ("alpha", "no spatial part: (0, α_T)"): "α_S = 0",
}


def redirect_old_links(*, first_page: bool) -> None:
    """Links that were copied from an earlier version may hold values that have been renamed since, or lead to the page
    Attention, which was the first one then."""
    renamed = {key: new for (key, old), new in RENAMED_VALUES.items() if st.query_params.get(key) == old}
    if renamed:
        st.query_params.update(renamed)
        st.rerun()
    if first_page and any(key in st.query_params for key in OF_ATTENTION):
        st.switch_page(ATTENTION_PAGE, query_params={key: st.query_params.get_all(key) for key in st.query_params})


def end_page(message: str) -> NoReturn:
    """Show why the page has nothing more to show."""
    st.info(message)
    st.stop()


@contextmanager
def errors_shown() -> Iterator[None]:
    """Show what the user or the system did not allow in this part of the page in its place; the other parts stay."""
    try:
        yield
    except (UserError, OSError) as error:
        st.error(escape_markdown(error_sentence(error)))


def run_action(key: str, action: Callable[..., object], *args: object) -> None:
    """Do what was clicked; if it fails, `show_problem` says why when the page is next drawn."""
    try:
        action(*args)
    except (UserError, OSError) as error:
        st.session_state[f"{key} problem"] = error_sentence(error)


def show_problem(key: str) -> None:
    if problem := st.session_state.pop(f"{key} problem", ""):
        st.error(escape_markdown(problem))


def run_id(run: Run) -> str:
    """A run's path inside the folder of runs, by which links name it."""
    return str(run.path.relative_to(runs_folder()))


def show_run_warnings(runs: Mapping[str, Run], reasons: Mapping[str, str] | None = None) -> None:
    """One line for each run that is unfinished, or that cannot be shown for one of the reasons."""
    for name, run in runs.items():
        if problem := run.problem or (reasons or {}).get(name, ""):
            text = f"**{escape_markdown(name)}**: {escape_markdown(problem)}"
            unfinished = bool(run.meta and run.problem)
            st.warning(text, icon=":material/hourglass_top:" if unfinished else ":material/warning:")


def cached_why_unreadable(run: Run) -> str:
    """Why nothing of the run can be shown; empty if it can be."""
    if not run.meta:
        return why_unreadable(run)
    if (summary := all_summaries().recall(run)) and (summary.every == 1 or run.every > 1):
        return summary.problem
    return str(cached_result("why_unreadable", [run], lambda: why_unreadable(run)))


def show_left_out(reasons: dict[str, str], what: str) -> None:
    """The runs that are left out, by name, and why: folded, with the first names outside. `what` is "not listed" or
    so."""
    if not reasons:
        return
    count = "1 run is" if len(reasons) == 1 else f"{len(reasons)} runs are"
    with st.expander(f"{count} {what}: {escape_markdown(some_names(list(reasons)))}"):
        for name, reason in reasons.items():
            st.caption(f"**{escape_markdown(name)}**: {escape_markdown(reason)}")


@dataclass(frozen=True)
class Usable:
    """The runs that can be shown by `run_id`, the best first (`best_first`), and why the others cannot be.

    `summaries` lack runs that are still being read in the background: whether these can be shown is found when one of
    them is chosen (`readable_runs`)."""

    runs: dict[str, Run]
    summaries: dict[str, RunSummary]
    reasons: dict[str, str]


def found_runs() -> dict[str, Run]:
    """All runs, also damaged ones, by `run_id`; if there are none, the page says so, and ends."""
    found = {run_id(run): run for run in listed_runs()}
    if not found:
        end_page(
            f"There are no runs in {escape_markdown(str(runs_folder()))} yet. Record one with `sth record CHECKPOINT "
            "--data DIR -o RUN`, RUN a folder in it, or all runs of the demo with `make demo`. Then reload this page."
        )
    show_changed_runs(found)
    return found


def usable_runs() -> Usable:
    """The runs with a recorded clip; if there are none, the page says so, and ends. The sidebar names the others."""
    found = found_runs()
    summaries = all_summaries().of(found)
    reasons = {name: summary.problem for name, summary in summaries.items() if summary.problem}
    runs = {name: run for name, run in found.items() if name not in reasons}
    if not runs:
        show_run_warnings(found, reasons)
        end_page("No run has a recorded clip yet.")
    with st.sidebar:
        show_left_out(reasons, "not listed")
    return Usable({name: runs[name] for name in best_first(runs, summaries)}, summaries, reasons)


def first_runs(runs: Mapping[str, Run]) -> list[str]:
    """All names if the runs are few, else the first ones: a figure of a thousand runs shows nothing."""
    names, clips = list[str](), 0
    for name, run in runs.items():
        clips += run.meta["clips"]
        if names and (len(names) == MOST_RUNS or clips > MOST_CLIPS):
            break
        names.append(name)
    return sorted(names)


def show_changed_runs(runs: dict[str, Run]) -> None:
    """Say once which runs were removed, or replaced by other ones, since this session last looked."""
    seen = st.session_state.get("runs seen", {})
    now = {name: (run.meta["checkpoint_sha256"], run.meta.get("started")) for name, run in runs.items() if run.meta}
    st.session_state["runs seen"] = now
    removed = [name for name in seen if name not in runs]
    replaced = [name for name in now if now[name] != seen.get(name, now[name])]
    for names, what in ((removed, "removed"), (replaced, "replaced by another recording, which is shown now")):
        if names:
            have = "has" if len(names) == 1 else "have"
            st.warning(f"**{escape_markdown(some_names(names))}** {have} been {what}.", icon=":material/sync_problem:")


def end_if_missing(key: str, label: str, usable: Usable, instead_of: Mapping[str, str] | None = None) -> None:
    """If the run that the link names as `key`, or that this session chose, cannot be shown, say why, offer others, and
    end the page: another run's numbers are not shown in its place. `instead_of` are usable runs that this choice does
    not offer, and why."""
    not_offered = instead_of or {}
    linked, chosen = st.query_params.get(key), st.session_state.get(f"{key} chosen")
    name = chosen if linked is None else linked
    if name is None or (name in usable.runs and (linked is None or name not in not_offered)):
        return
    shown = escape_markdown(name)
    if name == chosen and name not in usable.runs:
        what = f"The run {shown}, which was open here, has been removed or cannot be read any more."
    elif reason := usable.reasons.get(name) or not_offered.get(name):
        what = f"The link names a run that cannot be shown here: {shown}: {escape_markdown(reason)}."
    else:
        what = f"The link names a run that does not exist: {shown}."
    names = [other for other in usable.runs if other not in not_offered]
    other = st.sidebar.selectbox(label, names, index=None, key=f"{key} instead", placeholder="choose another")
    if other is None:
        end_page(f"{what} Choose another one in the sidebar.")
    st.session_state[f"{key} chosen"] = st.query_params[key] = other
    st.rerun()


def readable_runs(runs: Mapping[str, Run]) -> dict[str, Run]:
    """Those of the chosen runs that can be shown; the page names the others, and ends if it is all of them. Of runs
    that are still being read in the background it is not known before."""
    reasons = {name: reason for name, run in runs.items() if (reason := cached_why_unreadable(run))}
    show_run_warnings({name: Run(runs[name].path, {}, reason) for name, reason in reasons.items()})
    if runs and len(reasons) == len(runs):
        end_page("Choose another run in the sidebar.")
    return {name: run for name, run in runs.items() if name not in reasons}


def read_samples(runs: Mapping[str, Run]) -> dict[str, Run]:
    """The runs, of a large one the sample that a page reads (`large_runs`) and has to say (`say_samples`); all of it if
    that is wanted."""
    samples = {name: sampled(run) for name, run in runs.items()}
    hint = f"Of a run with more than {READ_WHOLE:,} clips a sample is read. All take longer, and gigabytes of memory."
    large = any(run.every > 1 for run in samples.values())
    if large and st.sidebar.toggle("Read all clips", key=READ_ALL, bind="query-params", help=hint):
        return dict(runs)
    return samples


def say_samples(runs: Mapping[str, Run]) -> None:
    for name, run in runs.items():
        if sentence := sample_sentence(run):
            st.info(
                f"**{escape_markdown(name)}**: {sentence}. This page shows only these clips. *Read all clips* in the "
                "sidebar reads the others too; commands always do."
            )


def choose_one(label: str, options: Sequence[Option], key: str, default: Option | None = None, **more: Any) -> Option:
    """Buttons, of which one is pressed, by default the first; the choice is in the URL as `key`."""
    first = options[0] if default is None else default
    chosen = st.segmented_control(label, options, default=first, key=key, bind="query-params", **more)
    return first if chosen is None else chosen


def linked_selectbox(
    label: str, options: list[str], key: str, *, place: Any = st, default: str | None = None, scope: str = "",
    default_in_url: bool = True, **more: Any,
) -> str:  # fmt: skip
    """A select box, drawn in `place`, whose choice is in the URL as `key`, and is kept from page to page.

    Streamlit's own binding leaves the default out of the URL; this one writes it if `default_in_url`.
    If the URL has changed since this session last read it (a link, or Back), the URL decides. A choice for one `scope`
    (a clip, for example) is not used for another one. A warning names an option in the URL that does not exist.
    """
    first = options[0] if default is None else default
    widget = f"{key} {scope}".strip()
    last_choice, last_url = f"{widget} chosen", f"{widget} in the URL of {urlsplit(st.context.url or '').path}"
    linked = st.query_params.get(key, None if default_in_url else first)
    if linked == st.session_state.get(last_url):
        linked = None
    elif linked is not None and linked not in options:
        problem = f"The link names a {label.lower()} that does not exist: {escape_markdown(linked)}."
        place.warning(f"{problem} The page shows another one.")
    candidates = (linked, st.session_state.get(widget), st.session_state.get(last_choice), first)
    # Even if it is that already: on another page the select box is a new one.
    st.session_state[widget] = next(value for value in candidates if value in options)
    chosen = str(place.selectbox(label, options, key=widget, **more))
    # Even if the server has this URL already: a link within a page changes the server's URL, and not the browser's.
    if st.session_state.get(last_url) != chosen or (default_in_url and key not in st.query_params):
        if default_in_url or chosen != first:
            st.query_params[key] = chosen
        else:
            st.query_params.pop(key, None)
    st.session_state[last_choice] = st.session_state[last_url] = chosen
    return chosen


def choose_run(*, sample: bool = False) -> Run:
    """The run in the URL, which the select box in the sidebar changes; by default the best one (`best_first`). With
    `sample` as `read_samples` has it; the page says it."""
    usable = usable_runs()
    end_if_missing("run", "Run", usable)
    with st.sidebar:
        name = linked_selectbox("Run", sorted(usable.runs), "run", default=next(iter(usable.runs)))
        run = usable.runs[name]
        st.caption(escape_markdown(run.title))
    if sample:
        run = read_samples({name: run})[name]
    readable_runs({name: run})
    with st.sidebar:
        if unread := cached_result("unread", [run], lambda: unread_sentence(run)):
            st.caption(escape_markdown(unread))
    show_run_warnings({name: run})
    return run


def choose_runs(
    label: str, options: Mapping[str, Run], key: str, usable: Usable, *, default: Sequence[str] = (), hint: str = "",
    not_offered: Mapping[str, str] | None = None, sample: bool = False,
) -> dict[str, Run]:  # fmt: skip
    """Those of `options` that the URL names as `key`, which a box in the sidebar changes. The page names those that it
    cannot show, and why (`usable`, `not_offered`), and shows no others in their place. With `sample` as `read_samples`
    has them."""
    linked, last_url = st.query_params.get_all(key), f"{key} in the URL"
    if linked == st.session_state.get(last_url):  # what this session has chosen since is not in the URL yet
        linked = st.session_state.get(key, linked)
    missing = [name for name in linked if name not in options]
    if missing:
        st.session_state[key] = [name for name in linked if name in options]
    why = usable.reasons | dict(not_offered or {})
    for name in missing:
        reason = why.get(name, "there is no such run")
        st.warning(
            f"The link names a run that cannot be shown here: {escape_markdown(name)}: {escape_markdown(reason)}."
        )
    with st.sidebar:
        names = st.multiselect(
            label, sorted(options), default=list(default), key=key, bind="query-params", help=hint or None
        )
        st.session_state[last_url] = names
        if default and len(default) < len(options):
            st.caption(f"{len(names)} of {len(options):,} runs. The page *Runs* opens others.")
    chosen = {name: options[name] for name in names}
    if sample:
        chosen = read_samples(chosen)
        say_samples(chosen)
    return readable_runs(chosen)


def escape_markdown(text: str) -> str:
    """Text from files and folders, so that Streamlit shows it unchanged: no Markdown, no HTML, no icons, no links.

    What is in `REPLACED` is broken up by a character without width.
    """
    shown = visible(text)
    shown = "\u00a0" * (len(shown) - len(shown.lstrip(" "))) + shown.lstrip(" ")
    broken = REPLACED.sub(lambda match: match[0][0] + WORD_JOINER + match[0][1:], shown)
    return broken.translate({ord(character): "\\" + character for character in "\\`&*_{}[]()#+-.!|<>$~:"})
