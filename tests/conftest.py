"""What many tests share: a small synthetic set, and the folder of real videos."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # the tests share the cores, and so do the commands that they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")  # the tests need no network

# Before Triton is imported: without a GPU its interpreter runs the kernels.
os.environ.setdefault("TRITON_INTERPRET", "0" if "gpu" in sys.argv else "1")

import pytest
from click.testing import CliRunner
from filelock import FileLock
from playwright.sync_api import Browser, Page, expect

import workbench.demo
from analysis.experiments.interventions import intervene
from analysis.experiments.probes import probe
from analysis.experiments.trust import trust
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record
from analysis.runs.run_directory import open_run
from benchmarks.browser import chromium, serving
from sth_core.datasets.synthetic import synthesize
from tests.tiny import one_torch_thread, save_tiny
from workbench.cli import main
from workbench.demo import SHIPPED_NETWORKS, make_demo

PATIENCE = 120_000  # milliseconds that a browser test waits for what must come: the machine may be a busy one
LONGEST = [
    f"test_{name}.py"
    for name in (
        "browser", "browser_states", "synthetic_learning", "stop_and_go", "interruption", "browser_access", "scrubber",
        "browsing", "network", "app", "random_walk", "trust", "recording_interrupted", "overwriting",
        "study", "own", "recipe", "demo",
    )
]  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """The tests compare with what a CPU computes, so "auto" is the CPU, also in processes that they start. Those marked
    `gpu` are run alone, and see the GPUs."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A failure is shown at once: a run that is ended from outside shows no summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\nFAILED {report.nodeid} ({report.when})\n{report.longreprtext}", file=sys.__stderr__, flush=True)


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist there is no such hook
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: the tests in a browser and of processes mostly wait."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: a process of pytest-xdist takes a file at a time, and none should wait for the last."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests have a cache of videos of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all of pytest-xdist's processes see; each has a temporary folder of its own in it."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(path: Path, make: Callable[[Path], object]) -> Path:
    """What `make` makes at this path in the shared folder, for the first process that asks for it."""
    done = path.with_name(f"{path.name}.done")
    with FileLock(path.with_name(f"{path.name}.lock")):
        if not done.exists():
            make(path)
            done.touch()
    return path


@pytest.fixture(scope="session")
def scenes_folder(shared: Path) -> Path:
    """24 synthetic clips to train on and 24 to test with: read it, never write in it."""

    def make(folder: Path) -> None:
        synthesize(folder, 24, seed=3, split="train", workers=1)
        synthesize(folder, 24, seed=4, split="val", workers=1)

    return made_once(shared / "scenes", make)


@pytest.fixture(scope="session")
def checkpoint(shared: Path) -> Path:
    """A tiny untrained STH network that knows the motions: read it, never write over it."""
    return made_once(shared / "tiny.safetensors", save_tiny)


@pytest.fixture(scope="session")
def recorded(shared: Path, checkpoint: Path, scenes_folder: Path) -> Path:
    """The run of `checkpoint` on the 24 clips to test with: read it, never write in it."""
    options = DatasetOptions(command="sth record by hand")
    return made_once(shared / "recorded", lambda run: record(checkpoint, scenes_folder, run, options))


@pytest.fixture(scope="session")
def experiments(shared: Path, recorded: Path, checkpoint: Path, scenes_folder: Path) -> Path:
    """A folder of runs with one, `tiny`, that has probes, interventions and trust: read it, never write in it."""

    def make(runs: Path) -> None:
        run = open_run(shutil.copytree(recorded, runs / "tiny"))
        with one_torch_thread():  # of so small a network faster than several
            probe(run, scenes_folder, DatasetOptions(command="sth probe by hand"), network=checkpoint)
            intervene(run, scenes_folder, DatasetOptions(command="sth intervene by hand"), network=checkpoint)
            options = DatasetOptions(command="sth trust by hand")
            trust(checkpoint, scenes_folder, run.path / "trust", options, clips=2, methods=("gradcam",))

    return made_once(shared / "experiments", make)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a benchmark measures in a process of its own is called in this one: a process takes seconds to start."""

    def call(benchmark: str, *arguments: object) -> list[str]:
        result = CliRunner().invoke(main, ["benchmark", benchmark, *map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.stdout.split()

    for name in ("explaining", "large_run", "recording"):
        monkeypatch.setattr(f"benchmarks.{name}.in_own_process", call)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real videos: ut_interaction/ (AVI, with a manifest.csv) and real_clips/ (mp4, AVI)."""
    given = os.environ.get("STH_REAL_DATA")
    if not given:
        pytest.skip(
            "set STH_REAL_DATA to a folder with ut_interaction/ and real_clips/ to run the tests on real videos"
        )
    folder = Path(given)
    if not folder.is_dir() and os.environ.get("CI") == "true":
        pytest.skip(
            f"STH_REAL_DATA is {folder}, which is no folder here; set it to one to run the tests on real videos"
        )
    assert folder.is_dir(), f"STH_REAL_DATA is {folder}, which is no folder"
    return folder


@pytest.fixture(scope="session")
def demo(shared: Path) -> Path:
    """The demo as `sth demo --no-app` makes it with the shipped networks, of 60 clips: read it, never write in it."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workbench.demo, "CLIPS", 60)
            make_demo(folder, SHIPPED_NETWORKS, lambda *_: None)

    return made_once(shared / "demo", make)


@pytest.fixture(scope="module")
def own_runs(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo's runs, whose notes and views a file of tests may write."""
    return shutil.copytree(demo / "runs", tmp_path_factory.mktemp("own") / "runs")


@pytest.fixture(scope="module")
def own_address(own_runs: Path) -> Iterator[str]:
    """The app on `own_runs`."""
    with serving(own_runs) as (address, _):
        yield address


@pytest.fixture(scope="session")
def address(demo: Path) -> Iterator[str]:
    """The app on the demo's runs, served by `sth app`."""
    with serving(demo / "runs") as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with chromium() as browser:
        yield browser


@contextmanager
def laptop(browser: Browser) -> Iterator[Page]:
    """A page of somebody who was never here before, with the screen of a 13-inch laptop, on which nothing violates the
    app's content security policy."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page, said = context.new_page(), list[str]()
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda message: said.append(message.text))
    yield page
    context.close()
    assert not [text for text in said if "Content Security Policy" in text]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A browser that was never here before."""
    with laptop(browser) as page:
        yield page


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    """One for all tests of a file that do not mind where it was before: it has the app's own files."""
    with laptop(browser) as page:
        yield page
