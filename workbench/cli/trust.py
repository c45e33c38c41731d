"""`sth trust`: which explanation of a network passes which test; `sth intervene`: does its attention matter."""

import shlex
import sys
from functools import partial
from pathlib import Path

import click
import numpy as np

from workbench.cli.options import FOLDER, friendly, over_a_dataset
from workbench.cli.progress import console, progress_bars


@click.command()
@over_a_dataset
@click.option("-o", "--out", type=FOLDER, help="Where the page goes; by default <CHECKPOINT's name>-trust, here.")
@click.option("--clips", default=60, show_default=True, type=click.IntRange(2), help="How many, evenly over classes.")
@click.option("--seed", default=0, show_default=True, help="Which clips are drawn, and the random maps.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1), help="Views at once.")
@friendly
def trust(
    checkpoint: Path, folder: Path, out: Path | None, split: str, clips: int, seed: int, device: str, batch_size: int,
    workers: int,
) -> None:  # fmt: skip
    """Test which explanation of a network can be believed; writes one page with all verdicts.

    Grad-CAM in both definitions and per branch: deletion and insertion in space, time and both against a random map
    and a centre prior; random weights; hidden frames; and attention replaced. Stopped at any moment, the same command
    goes on.
    """
    from rich.table import Table

    from analysis.experiments.trust import trust
    from analysis.experiments.trust_tables import TrustResults, trust_verdicts
    from analysis.report.trust_page import SIGN, write_trust_page
    from sth_core.errors import UserError

    out = out or Path(f"{checkpoint.stem}-trust")
    with progress_bars() as show:
        failures = trust(
            checkpoint, folder, out, split, clips, seed, device, batch_size, workers,
            shlex.join(["sth", *sys.argv[1:]]), partial(show, f"testing {checkpoint.stem}"),
        )  # fmt: skip
    for clip_id, reason in failures.items():
        click.echo(f"not read: {clip_id}: {reason}")
    results = TrustResults(out)
    if results.clips.empty:
        raise UserError(f"none of the {len(failures)} clips could be read")
    page = write_trust_page(out, example_of(checkpoint, folder, results))
    shown, found = Table("explanation", "question", "verdict", ""), trust_verdicts(results)
    for row in found.itertuples():
        shown.add_row(row.explanation, row.question, SIGN[row.verdict], row.detail)
    console.print(shown)
    click.echo(f"{len(results.clips)} clips; page: {page}")


@click.command()
@over_a_dataset
@click.option("-o", "--out", "run", type=FOLDER, required=True, help="The run directory; recorded if it is not there.")
@click.option("--seed", default=0, show_default=True, help="Which other clip's attention is borrowed.")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(2), help="Clips at once.")
@friendly
def intervene(
    checkpoint: Path, folder: Path, run: Path, split: str, seed: int, device: str, batch_size: int, workers: int
) -> None:
    """Replace attention, and see whether it matters: per layer, stage and class.

    alpha becomes one half, all spatial, all temporal, the dataset's mean or another clip's, at each layer, in each
    stage and everywhere. Stopped at any moment, the same command goes on.
    """
    from analysis.experiments.interventions import intervene
    from analysis.report.intervention_page import summary, write_intervention_page
    from analysis.runs.recording import recording

    command = shlex.join(["sth", *sys.argv[1:]])
    with progress_bars() as show:
        opened = recording(
            checkpoint, folder, run, split, None, device, batch_size, workers, command,
            partial(show, f"recording {run.name}"),
        )  # fmt: skip
        what = f"replacing α of {run.name}"
        intervene(opened, folder, device, batch_size, workers, seed, command, partial(show, what))
    page, places = write_intervention_page(opened)
    click.echo(summary(places))
    click.echo(f"page: {page}")


def example_of(checkpoint_path: Path, folder: Path, results: object) -> tuple[str, dict[str, np.ndarray]]:
    """The clip that the network was most sure of, with every explanation's map over its frames."""
    from analysis.experiments.trust import explanations, maps_of
    from analysis.experiments.trust_tables import TrustResults
    from analysis.explain.overlay import overlay, seen_frames
    from sth_core.checkpoint import load_checkpoint
    from sth_core.datasets.clips import EvaluationClips
    from sth_core.datasets.table import read_dataset
    from sth_core.video.transforms import normalise

    assert isinstance(results, TrustResults)
    checkpoint = load_checkpoint(checkpoint_path)
    p, best = checkpoint.preprocessing, results.clips.sort_values("confidence").iloc[-1]
    table = read_dataset(folder, checkpoint.annotation)
    row = table[table["clip_id"] == best["clip_id"]]
    sample = EvaluationClips(row, checkpoint.classes, p)[0]
    if sample.views is None:  # it was there when the tests ran
        return str(best["clip_id"]), {}
    clip = normalise(sample.views[0], p)
    wanted = explanations(checkpoint.model, p.crop)
    maps = maps_of(checkpoint.model, clip, checkpoint.classes.index(best["prediction"]), wanted)
    frames = seen_frames(Path(row["path"].iloc[0]), sample.frame_indices, p, side=128)
    painted = {name: overlay(frames, m.clamp(min=0).numpy(), 0.75) for name, m in maps.items()}
    return f"{best['clip_id']} ({best['prediction']}, {best['confidence']:.0%})", {"what it saw": frames} | painted
