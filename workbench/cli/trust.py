"""`sth trust`: which explanation of a network passes which test."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from workbench.cli.options import DatasetArguments, dataset_options
from workbench.cli.progress import progress_bars
from workbench.cli.terminal import console, print_unread

if TYPE_CHECKING:
    import numpy as np

    from analysis.experiments.trust_tables import TrustResults


@click.command("trust")
@dataset_options(
    out="Where the page goes; by default <CHECKPOINT's name>-trust, here.", out_suffix="-trust", batch_size=16,
    labelled=False,
)  # fmt: skip
@click.option("--clips", default=60, show_default=True, type=click.IntRange(2), help="How many, evenly over classes.")
@click.option("--seed", default=0, show_default=True, help="Which clips are drawn, and the random maps.")
def trust_command(dataset: DatasetArguments, clips: int, seed: int) -> None:
    """Test which explanations of a network can be trusted, and write one page with all verdicts.

    Grad-CAM in both definitions and per branch: deletion and insertion in space, time and both against a random map
    and a centre prior; random weights; hidden frames; and attention replaced. When it was stopped, the same command
    continues.
    """
    from analysis.experiments.trust import trust
    from analysis.experiments.trust_tables import TrustResults, trust_verdicts
    from analysis.report.trust_page import SIGN, write_trust_page
    from sth_core.errors import UserError

    with progress_bars() as show:
        options = dataset.reporting(partial(show, f"testing {dataset.checkpoint.stem}"))
        failures = trust(dataset.checkpoint, dataset.data, dataset.out, options, clips=clips, seed=seed)
    print_unread(failures)
    results = TrustResults(dataset.out)
    if results.clips.empty:
        raise UserError(f"none of the {len(failures)} clips could be read")
    page = write_trust_page(dataset.out, example_of(dataset.checkpoint, dataset.data, results))
    shown = Table("explanation", "question", "verdict", "")
    for row in trust_verdicts(results).itertuples():
        shown.add_row(row.explanation, row.question, SIGN[row.verdict], row.detail)
    console.print(shown)
    click.echo(f"{len(results.clips)} clips; page: {page}")


def example_of(checkpoint_path: Path, data: Path, results: "TrustResults") -> "tuple[str, dict[str, np.ndarray]]":
    """The clip with the most confident prediction, with every explanation's map over its frames."""
    from analysis.experiments.trust import explanations, maps_of
    from analysis.explain.overlay import overlay, seen_frames
    from sth_core.checkpoint import load_checkpoint
    from sth_core.datasets.clips import EvaluationClips
    from sth_core.datasets.table import read_dataset
    from sth_core.video.transforms import normalise

    checkpoint = load_checkpoint(checkpoint_path)
    p, best = checkpoint.preprocessing, results.clips.sort_values("confidence").iloc[-1]
    table = read_dataset(data, checkpoint.annotation)
    row = table[table["clip_id"] == best["clip_id"]]
    sample = EvaluationClips(row, checkpoint.classes, p)[0]
    if sample.views is None:  # it has become unreadable since the tests ran
        return str(best["clip_id"]), {}
    clip = normalise(sample.views[0], p)
    wanted = explanations(checkpoint.model, p.crop)
    maps = maps_of(checkpoint.model, clip, checkpoint.classes.index(best["prediction"]), wanted)
    frames = seen_frames(Path(row["path"].iloc[0]), sample.frame_indices, p, side=128)
    painted = {name: overlay(frames, m.clamp(min=0).numpy(), 0.75) for name, m in maps.items()}
    return f"{best['clip_id']} ({best['prediction']}, {best['confidence']:.0%})", {"what it saw": frames} | painted
