"""The demo with few clips and untrained networks: what is made once, and what anew."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from analysis.attention.alpha_matrix import read_alpha
from analysis.runs.run_directory import open_run, predictions
from sth_core.checkpoint import load_checkpoint, save_checkpoint
from sth_core.datasets.sprites import APPEARANCES
from sth_core.datasets.synthetic import MOTIONS
from sth_core.errors import UserError
from sth_core.files import sha256
from sth_core.network import create_model
from sth_core.recipe import load_recipe
from workbench import demo

FIGURES = ["figure5_layers", "figure6_proportions", "figure7_datasets", "figure8_modalities"]


def quiet(what: str, done: int, total: int, detail: str = "") -> None:
    pass


def save_untrained(network: demo.DemoNetwork, folder: Path, seed: int) -> None:
    """The network of its recipe, with random weights."""
    recipe = load_recipe(network.recipe, network.changes)
    classes = sorted(MOTIONS if recipe.data.label == "motion" else APPEARANCES)
    torch.manual_seed(seed)
    model = create_model(num_classes=len(classes), **recipe.model).eval()
    save_checkpoint(folder / f"{network.name}.safetensors", model, classes, recipe.preprocessing, recipe.data)


@pytest.fixture(scope="module", autouse=True)
def few_clips() -> Iterator[None]:
    """The seeds of the shared synthetic set, so that its files can be used."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "CLIPS", 12)
        patch.setattr(demo, "CLIP_SEED", 4)
        patch.setattr(demo, "TRAINING_CLIPS", 24)
        patch.setattr(demo, "TRAINING_SEED", 3)
        yield


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    for seed, network in enumerate(demo.NETWORKS):
        save_untrained(network, folder, seed)
    return folder


@pytest.fixture(scope="module")
def made(networks: Path, scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """A whole demo of which only two clips were not there, and its table."""
    folder = tmp_path_factory.mktemp("demo")
    clips = folder / "synthetic" / "val"
    shutil.copytree(scenes_folder / "val", clips, ignore=lambda _, names: sorted(names)[10:])
    assert len(list(clips.iterdir())) == 10
    return folder, demo.make_demo(folder, networks, quiet)


def times(folder: Path) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_clips_runs_and_figures(made: tuple[Path, pd.DataFrame], networks: Path) -> None:
    folder, _ = made
    assert len(list((folder / "synthetic" / "val").glob("*.mp4"))) == 12
    assert sorted(path.name for path in (folder / "runs").iterdir()) == sorted(n.name for n in demo.NETWORKS)
    for network in demo.NETWORKS:
        run = open_run(folder / "runs" / network.name)
        assert run.problem == ""
        assert run.meta["checkpoint_sha256"] == sha256(networks / f"{network.name}.safetensors")
        assert len(predictions(run)) == 12
        assert len(read_alpha(run).temporal) == 12
    assert sorted(file.stem for file in (folder / "figures").glob("figure[5-8]*.html")) == FIGURES
    assert "Section 6.1" in (folder / "figures" / "index.html").read_text(encoding="utf-8")


def test_the_table(made: tuple[Path, pd.DataFrame]) -> None:
    folder, table = made
    assert list(table.columns) == ["network", "question", "p", "input", "clips", "accuracy", "alpha_T"]
    assert list(table["network"]) == [network.name for network in demo.NETWORKS]
    assert list(table["question"]) == ["motion"] * 4 + ["appearance"] * 4
    assert list(table["p"]) == ["1/2", "1/4", "1/8", "1/4"] * 2
    assert list(table["input"]) == ["RGB", "RGB", "RGB", "Flow"] * 2
    for row in table.itertuples():
        run = folder / "runs" / str(row.network)
        parts = [pd.read_parquet(file) for file in (run / "predictions").iterdir()]
        assert row.accuracy == pytest.approx(pd.concat(parts)["correct"].mean())
        parts = [pd.read_parquet(file) for file in (run / "attention").iterdir()]
        assert row.alpha_T == pytest.approx(pd.concat(parts)["alpha_temporal"].mean())


def test_a_second_call_makes_nothing_anew(made: tuple[Path, pd.DataFrame], networks: Path) -> None:
    folder, table = made
    before = {path: when for path, when in times(folder).items() if path.name != "manifest.csv"}
    again = demo.make_demo(folder, networks, quiet)
    assert {path: when for path, when in times(folder).items() if path.name != "manifest.csv"} == before
    pd.testing.assert_frame_equal(again, table)


def test_what_does_not_fit_is_recorded_anew(made: tuple[Path, pd.DataFrame], networks: Path, tmp_path: Path) -> None:
    """A run of an older network, one cut off, a torn description, one missing, one of clips that were moved."""
    folder = Path(shutil.copytree(made[0], tmp_path / "demo"))
    newer = Path(shutil.copytree(networks, tmp_path / "networks"))
    older, cut_off, torn, missing, moved, *others = (network.name for network in demo.NETWORKS)
    runs = folder / "runs"
    for name in (older, cut_off, *others):  # the copied folder's clips are theirs
        meta = json.loads((runs / name / "run.json").read_text())
        (runs / name / "run.json").write_text(json.dumps(meta | {"data": str((folder / "synthetic").resolve())}))
    save_untrained(demo.NETWORKS[0], newer, seed=99)
    meta = json.loads((runs / cut_off / "run.json").read_text())
    (runs / cut_off / "run.json").write_text(json.dumps(meta | {"finished": None}))
    for kind, rows in (("predictions", 7), ("attention", 7 * len(meta["layers"]))):
        shard = runs / cut_off / kind / "part-00000.parquet"
        pd.read_parquet(shard).iloc[:rows].to_parquet(shard)
    (runs / torn / "run.json").write_text("[")
    shutil.rmtree(runs / missing)
    before = times(folder)
    told: list[str] = []
    demo.make_demo(folder, newer, quiet, told.append)
    moves = "the earlier recording was moved to "
    assert [runs / name / ".replaced-1" for name in (older, torn, moved)] == [
        Path(sentence.removeprefix(moves)) for sentence in told if sentence.startswith(moves)
    ]
    assert len(told) == len(set(told))  # what was found in the clips' folder is not said for each run
    for name in (older, cut_off, torn, missing, moved):
        run = open_run(runs / name)
        assert run.problem == ""
        assert sorted(predictions(run)["clip_id"]) == sorted(f"val/0004_{i:05d}.mp4" for i in range(12))
        assert run.meta["checkpoint_sha256"] == sha256(newer / f"{name}.safetensors")
    for name in others:
        assert {path: when for path, when in before.items() if runs / name in path.parents} == times(runs / name)
    drawn = json.loads((folder / "figures" / "figure6_proportions.json").read_text())["runs"]
    expected = sha256(newer / f"{older}.safetensors")
    assert [run["checkpoint_sha256"] for run in drawn if run["run"] == older] == [expected]


def test_networks_are_named_by_what_makes_them(networks: Path) -> None:
    for network in (*demo.NETWORKS, demo.BASELINE):
        question, modality, p = network.name.split("-")
        recipe = load_recipe(network.recipe, network.changes)
        assert (recipe.data.label, recipe.model["modality"]) == (question, modality)
        fraction = 0 if recipe.model["conv"] == "2d" else round(1 / recipe.model["temporal_fraction"])
        assert p == f"p{fraction}"
        assert network.command.startswith(f"sth train {network.recipe} ")
        assert network.command.endswith(f"-o demo/networks/{network.name}")


@pytest.mark.long
def test_retrain_makes_every_network(scenes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ("model.width=8", "model.frames=2", "preprocessing.frames=2", "optimisation.epochs=1",
             "optimisation.warmup_epochs=0", "preprocessing.resize=36", "preprocessing.crop=32")  # fmt: skip
    start = "workbench/networks/quick.safetensors"
    second = demo.DemoNetwork("second", "synthetic_motion", (*small, f"start.checkpoint={start}"))
    monkeypatch.setattr(demo, "NETWORKS", (demo.DemoNetwork("quick", "synthetic_motion", small), second))
    baseline = demo.DemoNetwork("flat", "synthetic_appearance", (*small, "model.conv=2d"))
    monkeypatch.setattr(demo, "BASELINE", baseline)
    shutil.copytree(scenes_folder, tmp_path / "training")
    shown: list[str] = []
    out = demo.retrain(tmp_path, lambda what, *_, **__: shown.append(what), seeds=2)
    assert {"training quick", "training flat", "reading for flat"} <= set(shown)
    quick, flat = (load_checkpoint(out / f"{name}.safetensors") for name in ("quick", "flat"))
    assert (quick.classes, quick.model.config.conv) == (sorted(MOTIONS), "sth")
    assert (flat.classes, flat.model.config.conv) == (sorted(APPEARANCES), "2d")
    trained = load_checkpoint(out / "quick" / "model.safetensors").model.state_dict()
    for name, weight in quick.model.state_dict().items():
        halved = trained[name].half().to(weight.dtype) if weight.is_floating_point() else trained[name]
        assert torch.equal(weight, halved), name
    again = load_checkpoint(out / "quick-seed1.safetensors")
    assert (again.training["seed"], quick.training["seed"]) == (1, 0)
    assert not torch.equal(next(again.model.parameters()), next(quick.model.parameters()))
    command = json.loads((out / "second-seed1" / "training.json").read_text(encoding="utf-8"))["command"]
    assert f"start.checkpoint={out / 'quick-seed1.safetensors'}" in command  # of the same seed
    assert load_checkpoint(out / "second-seed1.safetensors").training["recipe"]["start"]["checkpoint"] == start
    (out / "quick" / "training.json").unlink()  # as an earlier version left it
    with pytest.raises(UserError) as refused:
        demo.retrain(tmp_path, lambda *_: None)
    assert str(refused.value).endswith(f"describes it; move the folder {out / 'quick'} elsewhere, and try again")


def test_order_accuracy_by_hand() -> None:
    rows = [
        ("moving left", "moving left"),
        ("moving left", "moving right"),
        ("opening", "closing"),
        ("closing", "closing"),
        ("opening", "opening"),
        ("appearing", "opening"),
        ("appearing", "moving up"),
        ("going away", "vanishing"),
    ]
    table = pd.DataFrame(rows, columns=["label", "prediction"])
    table["correct"] = table["label"] == table["prediction"]
    assert demo.order_accuracy(table) == (5 / 8, 3 / 5)
    assert demo.order_accuracy(table.iloc[3:4]) == (1, 1)
