"""What every page needs: the runs, and controls whose choice is in the URL, so that a link opens the same view."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import streamlit as st

from analysis.runs.left_out import some_names, unread_sentence, why_unreadable
from analysis.runs.run_directory import Run, find_runs
from sth_core.errors import UserError, visible
from sth_core.files import error_sentence
from workbench.components.cached import cached_result
from workbench.roots import runs_folder
from workbench.runs_in_roots import within_roots

Option = TypeVar("Option")
WORD_JOINER = "\u2060"
# What Streamlit replaces after it has read the Markdown: icons, arrows and such between blanks, addresses.
REPLACED = re.compile(r":material/|:streamlit|(?<!\S)(?:<->|<-|->|--|>=|<=|~=)(?!\S)|://|\bwww\.|(?<=\w)@(?=\w)", re.I)

ATTENTION_PAGE, PREDICTIONS_PAGE, CLIP_PAGE, COMPARE_PAGE, OWN_PAGE = (
    f"workbench/pages/{name}.py" for name in ("attention", "predictions", "clip", "compare", "own")
)
RENAMED_VALUES = {
    ("show", "Statements"): "Hypotheses",
    ("show", "Right and wrong"): "Correct and misclassified",
    ("outcome", "wrong"): "misclassified",
    ("changed", "both right"): "both correct",
    ("changed", "both wrong"): "both misclassified",
}


def redirect_old_links() -> None:
    """Links that were copied from an earlier version may hold values that have been renamed since."""
    renamed = {key: new for (key, old), new in RENAMED_VALUES.items() if st.query_params.get(key) == old}
    if renamed:
        st.query_params.update(renamed)
        st.rerun()


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


def show_run_warnings(runs: Iterable[Run]) -> None:
    """One line for each run that is damaged or unfinished."""
    for run in runs:
        if problem := run.problem or cached_why_unreadable(run):
            text = f"**{escape_markdown(run.name)}**: {escape_markdown(problem)}"
            unfinished = bool(run.meta and run.problem)
            st.warning(text, icon=":material/hourglass_top:" if unfinished else ":material/warning:")


def cached_why_unreadable(run: Run) -> str:
    if not run.meta:
        return why_unreadable(run)
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


def usable_runs(*, warn: bool = False) -> dict[str, Run]:
    """{run_id: run} of the runs with a recorded clip; if there are none, the page says so, and ends.

    The sidebar names the runs that are not among them; with `warn` the page does, and the unfinished ones too.
    """
    folder = runs_folder()
    runs = [within_roots(run) for run in find_runs(folder)]
    if not runs:
        end_page(
            f"There are no runs in {escape_markdown(str(folder))} yet. Record one with `sth record CHECKPOINT --data "
            "DIR -o RUN`, RUN a folder in it, or all runs of the demo with `make demo`. Then reload this page."
        )
    show_changed_runs({run_id(run): run for run in runs})
    reasons = {run_id(run): cached_why_unreadable(run) for run in runs}
    usable = {run_id(run): run for run in runs if not reasons[run_id(run)]}
    if warn or not usable:
        show_run_warnings(runs)
    else:
        with st.sidebar:
            show_left_out({name: reason for name, reason in reasons.items() if reason}, "not listed")
    if not usable:
        end_page("No run has a recorded clip yet.")
    return usable


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


def end_if_gone(key: str, label: str, usable: dict[str, Run], offered: Sequence[str] | None = None) -> None:
    """If the run that this session chose as `key` is there no more, say so, offer others (by default all), and end the
    page: another run's numbers are not shown in its place."""
    gone = st.session_state.get(f"{key} chosen")
    if gone is None or gone in usable or st.query_params.get(key, gone) != gone:
        return
    names = list(usable) if offered is None else offered
    other = st.sidebar.selectbox(label, names, index=None, key=f"{key} instead", placeholder="choose another")
    if other is None:
        end_page(f"The run {escape_markdown(gone)}, which was open here, has been removed or cannot be read any more. "
                 "Choose another one in the sidebar.")  # fmt: skip
    st.session_state[f"{key} chosen"] = st.query_params[key] = other
    st.rerun()


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


def choose_run() -> Run:
    """The run in the URL, which the select box in the sidebar changes."""
    usable = usable_runs()
    end_if_gone("run", "Run", usable)
    with st.sidebar:
        run = usable[linked_selectbox("Run", list(usable), "run")]
        st.caption(escape_markdown(run.title))
        if unread := unread_sentence(run):
            st.caption(escape_markdown(unread))
    show_run_warnings([run])
    return run


def escape_markdown(text: str) -> str:
    """Text from files and folders, so that Streamlit shows it unchanged: no Markdown, no HTML, no icons, no links.

    What is in `REPLACED` is broken up by a character without width.
    """
    shown = visible(text)
    shown = "\u00a0" * (len(shown) - len(shown.lstrip(" "))) + shown.lstrip(" ")
    broken = REPLACED.sub(lambda match: match[0][0] + WORD_JOINER + match[0][1:], shown)
    return broken.translate({ord(character): "\\" + character for character in "\\`&*_{}[]()#+-.!|<>$~:"})
