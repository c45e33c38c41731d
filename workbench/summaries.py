"""The summary of each run, of a large one that of a sample (`large_runs`), from a cache that all sessions share.

A summary takes from 10 ms to seconds to compute. It is computed once, in the background if there are many, and kept in
memory and in a small file in the user's cache folder; nothing is written beside the runs. A run whose files have
changed since is read again.
"""

import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict

from analysis.attention.run_summary import RunSummary, summarize_run
from analysis.runs.large_runs import sampled
from analysis.runs.run_directory import Run
from sth_core.errors import UserError
from sth_core.files import cache_folder, error_sentence, why_unread

VERSION = 2  # of what a summary holds
AT_ONCE, CLIPS_AT_ONCE = 16, 20_000  # runs, and their clips, that a page waits for
StateOf = Callable[[Run], str]  # a text that changes when the files of a run do


class Summaries:
    """The summaries that are known. `state_of` is asked each time."""

    def __init__(self, state_of: StateOf) -> None:
        self.state_of = state_of
        self.known: dict[str, tuple[str, RunSummary]] = {}
        self.stored: dict[str, tuple[str, str]] | None = None  # as the file has them
        self.waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()
        self.queued: set[str] = set()
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def of(self, runs: Mapping[str, Run]) -> dict[str, RunSummary]:
        """{name: summary} of these runs. Those of a few are computed; of more, the others are missing from it, and are
        computed in the background."""
        found: dict[str, RunSummary] = {}
        unread: dict[str, Run] = {}
        for name, run in runs.items():
            if not run.meta:
                found[name] = RunSummary(run.problem)
            elif (summary := self.recall(run)) is not None:
                found[name] = summary
            else:
                unread[name] = run
        clips = 0
        for i, (name, run) in enumerate(unread.items()):
            clips += run.meta["clips"]
            if i < AT_ONCE and clips <= CLIPS_AT_ONCE:
                found[name] = self.compute(run)
            else:
                self.enqueue(run)
        return found

    def recall(self, run: Run) -> RunSummary | None:
        """The summary if it is known and the run's files are still the same."""
        path, state = str(run.path), self.state_of(run)
        with self.lock:
            if self.stored is None:
                self.stored = read_stored()
            if path in self.known:
                known = self.known[path]
                return known[1] if known[0] == state else None
            if self.stored.get(path, ("",))[0] != state:
                return None
            said = json.loads(self.stored[path][1])
            summary = RunSummary(**said | {"attention": tuple(said["attention"])})
            self.known[path] = state, summary
            return summary

    def compute(self, run: Run) -> RunSummary:
        state = self.state_of(run)  # before it is read: if it changes meanwhile, it is read again
        try:
            summary = summarize_run(sampled(run))
        except (UserError, OSError) as error:
            summary = RunSummary(error_sentence(error).removeprefix(f"{run.path}: "))
        with self.lock:
            self.known[str(run.path)] = state, summary
        if not summary.problem:  # which may pass
            store(str(run.path), state, summary)
        return summary

    def enqueue(self, run: Run) -> None:
        with self.lock:
            if str(run.path) in self.queued:
                return
            self.queued.add(str(run.path))
            self.waiting.put(run)
            if self.thread is None:
                self.thread = threading.Thread(target=self.compute_queued, daemon=True)
                self.thread.start()

    def compute_queued(self) -> None:
        while True:
            run = self.waiting.get()
            try:
                self.compute(run)
            except Exception as error:  # whatever it is, the others are still to be read
                with self.lock:
                    self.known[str(run.path)] = (
                        self.state_of(run),
                        RunSummary(f"it cannot be read ({why_unread(error)})"),
                    )
            finally:
                with self.lock:
                    self.queued.discard(str(run.path))


def open_store() -> sqlite3.Connection:
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    cache = sqlite3.connect(folder / "runs.sqlite", timeout=10)
    cache.execute("PRAGMA synchronous = OFF")  # what is lost is computed again
    cache.execute("CREATE TABLE IF NOT EXISTS summaries (path TEXT PRIMARY KEY, state TEXT, summary TEXT)")
    return cache


UNUSABLE = (sqlite3.Error, OSError, RuntimeError, UnicodeError)  # no home folder, a full disk, a damaged file


def read_stored() -> dict[str, tuple[str, str]]:
    with suppress(*UNUSABLE), closing(open_store()) as cache:
        return {path: (state, text) for path, state, text in cache.execute("SELECT * FROM summaries")}
    return {}


def store(path: str, state: str, summary: RunSummary) -> None:
    with suppress(*UNUSABLE), closing(open_store()) as cache, cache:
        cache.execute("INSERT OR REPLACE INTO summaries VALUES (?, ?, ?)", (path, state, json.dumps(asdict(summary))))
