"""What `pip install` of the built package gives: four top-level names, and all data files."""

import json
import os
import re
import shlex
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
    built = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return copy / built.stdout.split()[-1]


def install(wheel: Path, folder: Path) -> None:
    with ZipFile(wheel) as archive:
        archive.extractall(folder)


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
    install(wheel, tmp_path)

    def sth(*words: str) -> subprocess.CompletedProcess[str]:
        start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from workbench.cli import main; main(prog_name='sth')"
        command = [sys.executable, "-P", "-c", start, str(tmp_path), *words]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env={"PYTHONPATH": ""}
        )

    asked = sth("benchmark", "decoding")
    assert asked.returncode == 2, asked.stderr
    assert asked.stderr.startswith("sth: benchmarks are not part of the installed package: clone the repository")
    help_text = sth("benchmark", "--help")
    assert help_text.returncode == 0 and "Benchmarks need the repository" in help_text.stdout


def test_a_folder_with_an_analysis_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """The command takes its packages from its installation; if Python would not, one sentence names both places."""
    installed, own = tmp_path / "installed", tmp_path / "own"
    install(wheel, installed)
    (own / "analysis").mkdir(parents=True)
    (own / "analysis" / "__init__.py").write_text("raise SystemExit('the analysis of somebody else')")

    def called(*words: str, path: str = str(installed)) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": ""}
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=own, env=environment, capture_output=True, text=True, timeout=300)

    script = tmp_path / "sth"  # as pip writes it
    script.write_text("import sys\nfrom workbench.start import start\nsys.exit(start())\n")
    for way in (["-m", "workbench"], [str(script)]):
        found = called(*way, "results", "runs")
        assert found.returncode == 2 and found.stderr.startswith("sth: no runs that can be used in runs"), found.stderr
        shadowed = called(*way, "results", "runs", path=f".{os.pathsep}{installed}")
        expected = f"sth: Python finds the package analysis in {own / 'analysis'}, not in {installed / 'analysis'}; "
        assert shadowed.returncode == 2 and shadowed.stderr.startswith(expected), shadowed.stderr
        assert shadowed.stderr.count("\n") == 1


# What the examples need, and a user has: videos, weights, and a network of Hugging Face. Then each example's commands.
PREPARE = """
import json, pathlib, torch
from torchvision.models import video
from transformers import VideoMAEConfig, VideoMAEForVideoClassification
from safetensors.torch import save_file
torch.manual_seed(0)
torch.save(video.swin3d_t(num_classes=2).state_dict(), "mine.pth")
pathlib.Path("classes.txt").write_text("open\\nclose")
small = {"num_frames": 4, "image_size": 32, "patch_size": 8, "hidden_size": 24, "num_attention_heads": 3}
VideoMAEForVideoClassification(VideoMAEConfig(num_hidden_layers=2, num_labels=2, **small)).save_pretrained("my_folder")
save_file(video.r3d_18(num_classes=2).state_dict(), "mine.safetensors")
"""
RUN = """
import json, sys
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from click.testing import CliRunner
import sth_core, workbench
from sth_core.datasets.synthetic import synthesize
from workbench.cli import main
assert Path(sth_core.__file__).is_relative_to(sys.argv[1]), sth_core.__file__
steps = json.loads(sys.argv[2])
synthesize(Path("videos"), 1, seed=0, split="val", workers=1)
next(Path("videos").rglob("*.mp4")).rename("clip.mp4")
synthesize(Path("two"), 2, seed=0, split="val", workers=1)
Path("two").rename("videos/clips")
for words in steps:
    if isinstance(words, str):
        exec(compile(words, "example", "exec"), {})
    else:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, (words, done.output)
"""


@pytest.mark.long
def test_the_three_examples_of_your_own_model_run_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """The commands of docs/your-own-model.md, but for those that download, serve the app, or take minutes."""
    pytest.importorskip("transformers", reason="the extra [transformers] is not installed")
    installed, folder = tmp_path / "installed", tmp_path / "empty"
    install(wheel, installed)
    folder.mkdir()
    text = (ROOT / "docs" / "your-own-model.md").read_text(encoding="utf-8")
    parts = {part.splitlines()[0]: part for part in text.split("\n## ")}

    def blocks(title: str, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```", parts[title], re.M | re.S)

    def commands(title: str) -> list[list[str]]:
        lines = [line for block in blocks(title, "sh") for line in block.splitlines() if line.startswith("sth ")]
        return [shlex.split(line)[1:] for line in lines]

    own = "A module of your own"
    record_mine = [c for c in commands("A network of torchvision") if "--weights" in c]
    record_folder = [c for c in commands("A network of Hugging Face") if "hf:my_folder" in c]
    record_own = [c for c in commands(own) if c[0] == "record"]
    module, in_python = blocks(own, "python")[:2]
    assert all(len(code.splitlines()) <= 15 for code in (module, in_python))
    (folder / "my_model.py").write_text(module)
    found = {"torchvision": record_mine, "hugging_face": record_folder, "own": record_own}
    records = [[word.replace("runs/mine", f"runs/{name}") for word in words] for name, [words] in found.items()]
    steps = [PREPARE, *records, in_python]
    command = [sys.executable, "-P", "-c", RUN, str(installed), json.dumps(steps)]
    environment = os.environ | {"PYTHONPATH": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    runs = sorted((folder / "runs").iterdir())
    assert [run.name for run in runs] == ["hugging_face", "own", "torchvision"]
    assert all(json.loads((run / "run.json").read_text())["finished"] for run in runs)
    assert "open" in done.stdout  # what the Python example prints
