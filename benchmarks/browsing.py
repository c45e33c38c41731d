"""The app on runs of Kinetics' size in a real browser: time of pages and interactions, and the server's memory.

\b
    sth benchmark browsing                             8 runs of 240,000 clips x 400 classes x 16 layers, 10 sessions
    sth benchmark browsing --clips 20000 --runs 2 --sessions 2

Each interaction is timed by Chromium's clock from the click or key until the page has drawn the answer; the first time
is not counted. Each page is opened twice, in a new tab. Made-up runs have no videos, so no thumbnail is decoded.
Then --sessions sessions open their own run and class at the same time, and are checked for showing another session's.
The memory is the server's peak.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import psutil
from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize

from benchmarks.browser import answered, chromium, serving, settle, watch
from benchmarks.made_runs import make_run
from benchmarks.measuring import machine, peak_resident, print_head, print_row

VIEWPORT: ViewportSize = {"width": 1440, "height": 900}
PATIENCE = 120_000  # milliseconds
TIMES_OPENED = 2  # each page
CORRECT = "Correct+and+misclassified"
LOCAL = ("look for a label",)  # interactions that the browser answers without the server


def ready(page: Page, text: str) -> None:
    """Wait until the page shows `text`, its script has ended, and all is drawn."""
    page.get_by_text(text).first.wait_for(timeout=PATIENCE)
    settle(page, PATIENCE)


def timed(action: Callable[[], object], page: Page, text: str) -> float:
    """Seconds until the page is ready."""
    began = time.perf_counter()
    action()
    ready(page, text)
    return time.perf_counter() - began


def timed_answer(action: Callable[[], object], page: Page, text: str) -> float:
    """Seconds from the action's click or key until the page has drawn what the server answers."""
    watch(page)
    action()
    return answered(page, text, PATIENCE)


def pages(run: str, other: str) -> dict[str, tuple[str, str]]:
    """{name: (address, a text that it shows when it is there)}"""
    return {
        "Runs": ("", "click on a column"),
        "Attention, Figures 5 to 8": (f"attention?runs={run}", "How to read this"),
        "Attention, by class": (f"attention?runs={run}&of={run}&show=By+class", "clips a class"),
        "Attention, correct and misclassified": (
            f"attention?runs={run}&of={run}&show={CORRECT}",
            "of the correct and of the",
        ),
        "Predictions, misclassified": (f"predictions?run={run}", "most confident first"),
        "Predictions, confusion": (f"predictions?run={run}&view=Confusion", "Click a square"),
        "Predictions, per class": (f"predictions?run={run}&view=Per+class", "whiskers: 95"),
        "Predictions, precision and recall": (f"predictions?run={run}&view=Precision+and+recall", "F1"),
        "Predictions, plot": (f"predictions?run={run}&view=Plot", "Click a bar"),
        "Predictions, all clips": (f"predictions?run={run}&view=All+clips", "opens the clip"),
        "Clip": (f"clip?run={run}", "Attention by layer"),
        "Compare": (f"compare?a={run}&b={other}", "B minus"),
        "Experiments": (f"experiments?run={run}", "sth probe"),
    }


def label_of(i: int, classes: int) -> str:
    return f"class {i % classes:03d}"


def interactions(page: Page, classes: int) -> dict[str, tuple[Callable[[int], object], str]]:
    """On the predictions page: {name: (what is done the i-th time, a text that is then there)}"""

    def view(name: str) -> Callable[[int], object]:
        radio, button = (
            page.get_by_role("radio", name=name, exact=True),
            page.get_by_role("button", name=name, exact=True),
        )
        return lambda i: radio.or_(button).first.click()

    def option(i: int) -> Locator:
        return page.get_by_role("option", name=label_of(i, classes), exact=True)

    def find_label(i: int) -> None:
        box = page.get_by_role("combobox", name="Label")
        box.click()
        box.fill(label_of(i, classes))
        option(i).wait_for(timeout=PATIENCE)

    def search(i: int) -> None:
        box = page.get_by_label("Clip name contains")
        box.fill(f"{i:03d}.mp4")
        box.press("Enter")

    def go(name: str) -> Callable[[int], object]:
        return lambda i: page.get_by_role("link", name=name, exact=True).click()

    return {
        "open all clips": (view("All clips"), "opens the clip"),
        "look for a label": (find_label, "clips match"),
        "choose it": (lambda i: option(i).click(), "clips match"),
        "search a name": (search, "clips match"),
        "open the confusion matrix": (view("Confusion"), "Click a square"),
        "back to the misclassified": (view("Misclassified"), "clips match"),
        "by link to Clip": (go("Clip"), "Attention by layer"),
        "by link to Compare": (go("Compare"), "B minus"),
        "by link to Predictions": (go("Predictions"), "clips match"),
    }


def server_of(pid: int) -> int:
    """The process that `sth app` started, which serves."""
    children = psutil.Process(pid).children()
    return server_of(children[0].pid) if children else pid


def at_once(browser: Browser, address: str, names: list[str], sessions: int, classes: int) -> int:
    """Open so many sessions at once, each on its own run and label; returns how many show another's."""
    opened = []
    for i in range(sessions):
        page, run, label = (
            browser.new_context(viewport=VIEWPORT).new_page(),
            names[i % len(names)],
            label_of(i, classes),
        )
        page.goto(f"{address}/predictions?run={run}&label={label}&view=All+clips", wait_until="commit")
        opened.append((page, run, label))
    wrong = 0
    for page, run, label in opened:
        ready(page, "clips match")
        values = page.get_by_role("combobox").evaluate_all("boxes => boxes.map(b => b.value || b.innerText)")
        shown = f"{page.get_by_test_id('stSidebar').inner_text()} {values}"
        wrong += run not in shown or label not in shown
        page.context.close()
    return wrong


@click.command(help=__doc__)
@click.option("--clips", default=240_000, show_default=True, type=click.IntRange(100))
@click.option("--classes", default=400, show_default=True, type=click.IntRange(6))
@click.option("--layers", default=16, show_default=True, type=click.IntRange(2))
@click.option("--runs", default=8, show_default=True, type=click.IntRange(2))
@click.option("--sessions", default=10, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(1))
def main(clips: int, classes: int, layers: int, runs: int, sessions: int, rounds: int) -> None:
    with TemporaryDirectory() as folder:
        names = [f"run{i}" for i in range(runs)]
        for i, name in enumerate(names):
            print(f"making run {i + 1}/{runs}", file=sys.stderr)
            make_run(Path(folder) / name, clips, classes, layers, seed=i, modality="flow" if i % 2 else "rgb")
        began = time.perf_counter()
        with serving(Path(folder)) as (address, pid):
            started = time.perf_counter() - began
            with chromium() as browser:
                size = f"{runs} runs of {clips:,} clips x {classes} classes x {layers} layers"
                print(f"\n{size}; {machine()} for server and browser together\n")
                context = browser.new_context(viewport=VIEWPORT)  # caches the app's own files
                first = opened_first(context, address)
                print_head("page", "first time, s", "again, s")
                for name, times in open_pages(context, address, pages(names[0], names[1])):
                    print_row(name, *(f"{took:.2f}" for took in times))
                print(f"\nA new server answers after {started:.2f} s; a new browser's first page takes {first:.2f} s")
                print_interactions(context, f"{address}/predictions?run={names[0]}", classes, rounds)
                context.close()
                wrong = at_once(browser, address, names, sessions, classes)
            peak = peak_resident(server_of(pid)) / 2**20
            print(f"\n{sessions} sessions at once: {wrong} of them show another's state; server at most {peak:.0f} MiB")


def opened_first(context: BrowserContext, address: str) -> float:
    """The seconds of the browser's first page, for which it gets the app's own files."""
    page = context.new_page()
    took = timed(lambda: page.goto(f"{address}/own"), page, "Your own")
    page.close()
    return took


def open_pages(
    context: BrowserContext, address: str, wanted: dict[str, tuple[str, str]]
) -> Iterator[tuple[str, list[float]]]:
    """The seconds of each page in a new tab, the first time and again."""
    for name, (query, text) in wanted.items():
        times = []
        for _ in range(TIMES_OPENED):
            page = context.new_page()
            times.append(timed(partial(page.goto, f"{address}/{query}"), page, text))
            page.close()
        yield name, times


def print_interactions(context: BrowserContext, address: str, classes: int, rounds: int) -> None:
    """A row for each interaction; the first of the rounds fills caches and is not counted."""
    page = context.new_page()
    page.goto(address)
    ready(page, "most confident first")
    print(f"\n{rounds} times each\n")
    print_head("interaction", "median, ms", "95th percentile, ms")
    acts = interactions(page, classes)
    times_of: dict[str, list[float]] = {name: [] for name in acts}
    for i in range(rounds + 1):  # in the order in which a person would do them
        for name, (act, text) in acts.items():
            clock = timed if name in LOCAL else timed_answer
            times_of[name].append(clock(partial(act, i), page, text))
    for name, (_, *times) in times_of.items():
        worst = statistics.quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]
        print_row(name, f"{1000 * statistics.median(times):.0f}", f"{1000 * worst:.0f}")
