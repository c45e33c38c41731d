"""The pages on how to add something: their changes apply to the code as it is, and what they say then holds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("add-a*.md"))
PACKAGES = ("sth_core", "analysis", "workbench")


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_change_applies_and_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    [change] = re.findall(r"^```diff\n(.*?)^```", text, re.M | re.S)
    [check] = re.findall(r"^```py\n(.*?)^```", text, re.M | re.S)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
        )
    done = subprocess.run(
        ["patch", "-p0", "--fuzz=0", "--batch"], cwd=tmp_path, input=change, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{page.name} no longer fits the code: {done.stdout}"
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr


def test_there_is_a_page_for_each_kind() -> None:
    assert [page.stem.split("-", 2)[2] for page in PAGES] == [
        "backbone", "convolution", "dataset-format", "network-adapter", "explanation-method",
    ]  # fmt: skip
