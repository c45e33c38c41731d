"""The demo: synthetic clips, eight networks recorded on them, and the supplement's figures."""

import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path

import pandas as pd

from analysis.attention.alpha_matrix import read_alpha
from analysis.report.model_card import write_model_card
from analysis.report.supplement import write_figures
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import open_or_record
from analysis.runs.run_directory import find_runs, open_run, predictions
from sth_core.checkpoint import load_checkpoint, save_checkpoint
from sth_core.datasets.synthetic import MOTION_PAIRS, synthesize
from sth_core.datasets.table import open_dataset
from sth_core.errors import OtherWork, UserError
from sth_core.network import VideoNetwork
from sth_core.recipe import Start, load_recipe
from sth_core.resumable import no_report
from sth_core.training import train
from workbench.pace import report_training

SHIPPED_NETWORKS = Path(__file__).parent / "networks"
CLIPS, CLIP_SEED = 240, 1
FIGURES_PAGE = "index.html"  # written last: if it exists, all figures do
TRAINING_CLIPS, TRAINING_SEED = 1800, 0


def seeded_name(name: str, seed: int) -> str:
    """The name of a network that was trained with this seed; the shipped ones are of seed 0."""
    return f"{name}-seed{seed}" if seed else name


@dataclass(frozen=True)
class DemoNetwork:
    """A shipped network: the recipe and changes with which `sth train` makes it."""

    name: str
    recipe: str
    changes: tuple[str, ...] = ()

    def seeded(self, seed: int) -> "DemoNetwork":
        """This network, trained with another seed than the shipped one's, which is 0."""
        if not seed:
            return self
        return replace(self, name=seeded_name(self.name, seed), changes=(*self.changes, f"optimisation.seed={seed}"))

    @property
    def command(self) -> str:
        changes = "".join(f" --set {change}" for change in self.changes)
        return f"sth train {self.recipe}{changes} --data demo/training -o demo/networks/{self.name}"


NETWORKS = (
    DemoNetwork("motion-rgb-p2", "synthetic_motion", ("model.temporal_fraction=1/2",)),
    DemoNetwork("motion-rgb-p4", "synthetic_motion"),
    DemoNetwork("motion-rgb-p8", "synthetic_motion", ("model.temporal_fraction=1/8",)),
    DemoNetwork("motion-flow-p4", "synthetic_motion_flow"),
    DemoNetwork("appearance-rgb-p2", "synthetic_appearance", ("model.temporal_fraction=1/2",)),
    DemoNetwork("appearance-rgb-p4", "synthetic_appearance"),
    DemoNetwork("appearance-rgb-p8", "synthetic_appearance", ("model.temporal_fraction=1/8",)),
    DemoNetwork("appearance-flow-p4", "synthetic_appearance_flow"),
)
DRAWN = "synthetic clips that `sth data synthesize` draws; no photograph and no person is in them"
MIT = "MIT, as the code: the weights were trained on clips that this project draws, from no weights but this project's."
KNOWS_DRAWN = (
    "It knows drawn shapes that move on drawn backgrounds, and nothing of real videos: it is for the demo and tests."
)
# Trained for the table, not shipped: the same network without temporal kernels (Table 6, p = 0).
BASELINE = DemoNetwork("motion-rgb-p0", "synthetic_motion", ("model.conv=2d",))


def make_demo(
    folder: Path, networks: Path, show: Callable[..., None], notify: Callable[[str], None] = no_report
) -> pd.DataFrame:
    """Make what is missing of `folder`/synthetic, /runs and /figures; returns the table of `summarize_demo`.

    Progress is shown by show(what, done, total, ...); `notify` gets a sentence if the run of another network was moved
    aside.
    """
    clips = folder / "synthetic"
    synthesize(clips, CLIPS, CLIP_SEED, "val", progress=partial(show, "making clips"))
    runs = folder / "runs"
    notify = cache(notify)  # all runs are of the same clips: what was found there is said once
    for network in NETWORKS:
        checkpoint, run = networks / f"{network.name}.safetensors", runs / network.name
        command = absolute_command("record", checkpoint, "--data", clips, "--out", run)
        report = partial(show, f"recording {network.name}")
        options = DatasetOptions(overwrite=True, command=command, progress=report, notify=notify)
        open_or_record(checkpoint, clips, run, options)
    figures = folder / "figures"
    if not (figures / FIGURES_PAGE).is_file() or newest_change(runs, "run.json") > newest_change(figures, FIGURES_PAGE):
        command = absolute_command("figures", runs, "--out", figures)
        write_figures(find_runs(runs), figures, pictures=False, command=command)
    return summarize_demo(runs)


def absolute_command(*words: str | Path) -> str:
    """An `sth` command that can be typed anywhere."""
    return shlex.join(["sth", *(str(word.absolute() if isinstance(word, Path) else word) for word in words)])


def newest_change(folder: Path, pattern: str) -> float:
    """When the newest of these files was written, in seconds since 1970; 0 if there is none."""
    return max((file.stat().st_mtime for file in folder.rglob(pattern)), default=0.0)


def summarize_demo(runs: Path) -> pd.DataFrame:
    """A row per demo run: network, question, p, input, clips, accuracy, alpha_T."""
    rows = []
    for run in (open_run(runs / network.name) for network in NETWORKS):
        correct, alpha = predictions(run)["correct"], read_alpha(run).mean
        rows.append((run.name, run.meta["label"], run.p, run.modality, len(correct), correct.mean(), alpha.mean()))
    return pd.DataFrame(rows, columns=["network", "question", "p", "input", "clips", "accuracy", "alpha_T"])


def retrain(
    folder: Path, show: Callable[..., None], notify: Callable[[str], None] = no_report, *, seeds: int = 1
) -> Path:
    """Train the demo's networks and the 2D baseline again, with the seeds 0 to `seeds` - 1; returns the folder of the
    new checkpoints. Those of seed 0 have the names of the shipped ones."""
    data, out = folder / "training", folder / "networks"
    for clips, seed, split in ((CLIPS, CLIP_SEED, "val"), (TRAINING_CLIPS, TRAINING_SEED, "train")):
        synthesize(data, clips, seed, split, progress=partial(show, f"making {split} clips"))
    for seed in range(seeds):
        for network in (*NETWORKS, BASELINE):
            retrain_one(network, seed, data, out, show, notify)
    for network in (*NETWORKS, BASELINE):
        write_card(network, out, seeds)
    return out


def write_card(network: DemoNetwork, folder: Path, seeds: int = 1) -> Path:
    """Write the model card of `folder`/NAME.safetensors, with the spread over the other seeds that lie beside it."""
    others = [folder / f"{network.seeded(seed).name}.safetensors" for seed in range(1, seeds)]
    return write_model_card(
        folder / f"{network.name}.safetensors", command=network.command, data=DRAWN, licence=MIT, licence_name="mit",
        limits=[KNOWS_DRAWN], other_seeds=others,
    )  # fmt: skip


def retrain_one(
    network: DemoNetwork, seed: int, data: Path, out: Path, show: Callable[..., None], notify: Callable[[str], None]
) -> None:
    """Train one network as `out`/NAME, and write its weights with 16 bits to `out`/NAME.safetensors."""
    network = network.seeded(seed)
    report = report_training(show, f"reading for {network.name}", f"training {network.name}")
    written = recipe = load_recipe(network.recipe, network.changes)
    changes: list[str | Path] = [word for change in network.changes for word in ("--set", change)]
    if recipe.start.checkpoint:  # start from the new network of this seed, not from the shipped one
        start = out / f"{seeded_name(Path(recipe.start.checkpoint).stem, seed)}.safetensors"
        recipe = replace(recipe, start=Start(str(start)))
        changes += ["--set", f"start.checkpoint={start.absolute()}"]
    command = absolute_command("train", network.recipe, *changes, "--data", data, "--out", out / network.name)
    try:
        dataset = open_dataset(data, recipe.data)
        notify(dataset.found.sentence)
        trained = train(
            recipe, dataset.clips, out / network.name, progress=report, command=command, notify=notify,
            found=dataset.found,
        )  # fmt: skip
    except OtherWork as error:  # whose advice is an option that `sth demo` does not have
        raise UserError(f"{error.found}; move the folder {out / network.name} elsewhere, and try again") from error
    c = load_checkpoint(trained.checkpoint)
    assert isinstance(c.model, VideoNetwork)  # a file has no other
    training = c.training | {
        "recipe": c.training["recipe"] | {"start": asdict(written.start)}
    }  # no path of one machine
    file = out / f"{network.name}.safetensors"
    save_checkpoint(file, c.model, c.classes, c.preprocessing, c.annotation, training, half=True)


def order_accuracy(table: pd.DataFrame) -> tuple[float, float]:
    """The share of motion predictions with the correct pair, and of those the share with the correct order."""
    pair = {motion: i for i, names in enumerate(MOTION_PAIRS) for motion in names}
    correct_pair = table["label"].map(pair) == table["prediction"].map(pair)
    return float(correct_pair.mean()), float(table.loc[correct_pair, "correct"].mean())
