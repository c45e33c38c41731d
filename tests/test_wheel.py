"""What `pip install` of the built package gives: four top-level names, and all data files."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("sth_core", "analysis", "workbench")
BUILD = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as building writes beside the sources."""
    copy = tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("benchmarks", "tests", "docs"):
        (copy / folder).mkdir()
        (copy / folder / "__init__.py").touch()
    for file in ("app.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, copy)
    command = [sys.executable, "-c", BUILD]
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr
    return copy / built.stdout.split()[-1]


def test_only_the_product_is_installed(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    top_level = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top_level == {*PACKAGES, "app.py"}
    files = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert files <= set(names), "pyproject.toml does not declare " + ", ".join(sorted(files - set(names)))
    kinds = {Path(name).suffix for name in files}
    assert {".safetensors", ".toml", ".js", ".css", ".csv"} <= kinds


def test_the_installed_command_says_that_benchmarks_need_the_repository(wheel: Path, tmp_path: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path)

    def sth(*words: str) -> subprocess.CompletedProcess[str]:
        start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from workbench.cli import main; main(prog_name='sth')"
        command = [sys.executable, "-P", "-c", start, str(tmp_path), *words]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env={"PYTHONPATH": ""}
        )

    asked = sth("benchmark", "decoding")
    assert asked.returncode == 2, asked.stderr
    assert asked.stderr.startswith("sth: benchmarks are not part of the installed package: clone the repository")
    help_text = sth("benchmark", "--help")
    assert help_text.returncode == 0 and "Benchmarks need the repository" in help_text.stdout
