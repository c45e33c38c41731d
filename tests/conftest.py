"""What many tests share: a small synthetic set, and the folder of real videos."""

import os
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # the tests share the cores, and so do the commands that they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from sth_core.datasets.synthetic import synthesize
from workbench.demo import SHIPPED, make_demo


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For pytest-xdist: the tests of a file stay together, as do all that look at the demo, which come first."""

    def group(item: pytest.Item) -> str:
        return "demo" if "demo" in getattr(item, "fixturenames", ()) else item.path.name

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: group(item) != "demo")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of videos is not that of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def scenes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 synthetic clips to train on and 24 to test with: read it, never write in it."""
    folder = tmp_path_factory.mktemp("scenes")
    synthesize(folder, 24, seed=3, split="train", workers=1)
    synthesize(folder, 24, seed=4, split="val", workers=1)
    return folder


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
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole demo as `sth demo --no-app` makes it, with the networks that ship."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo(folder, SHIPPED, lambda *_: None)
    return folder
