"""A model card beside a network: what it is, what it was trained on, how accurate it is, its limits, its licence.

The front matter is that of Hugging Face's hub.
"""

from collections.abc import Mapping, Sequence
from math import isfinite, nan, sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from analysis.statistics.clusters import quantile_of_t
from analysis.statistics.shares import share_interval
from sth_core.checkpoint import load_checkpoint
from sth_core.checkpoint_metadata import CheckpointFacts, read_facts
from sth_core.errors import visible
from sth_core.files import temporary_beside

UNKNOWN_LICENCE = (
    "The licence of the weights is not known here: whoever trained them decides, within the licence of the clips that "
    "they were trained on, and of the weights that training started from. The code is under the MIT licence."
)
LIMITS = (
    "The accuracy holds for clips like the held-out ones: from the same source, with these classes alone. A clip of "
    "another kind gets one of these classes too, often with a high score.",
    "It was not tested for decisions about people, and not for differences between groups of people.",
    "α and Grad-CAM say what this network weighs, not why; `sth trust` tests which explanations can be believed.",
)


def write_model_card(
    checkpoint: Path, *, command: str = "", data: str = "", licence: str = "", licence_name: str = "unknown",
    limits: Sequence[str] = (), other_seeds: Sequence[Path] = (),
) -> Path:  # fmt: skip
    """Write CHECKPOINT's card beside it, NAME.md; returns its path.

    `data` is a sentence on the clips; `licence` one on the weights, and `licence_name` its SPDX name; `other_seeds` are
    checkpoints of the same network with other seeds, for the spread of the accuracy. Raises OSError, and UserError: the
    checkpoint cannot be read.
    """
    facts, card = read_facts(checkpoint), checkpoint.with_suffix(".md")
    parameters = sum(weight.numel() for weight in load_checkpoint(checkpoint).model.parameters())
    sections = {
        "What it is": described_network(facts, parameters),
        "What it was trained on": [data] * bool(data) + described_data(facts),
        "How it was trained": described_training(facts, command),
        "How accurate it is": described_accuracy(facts, [read_facts(other) for other in other_seeds]),
        "Limits": [*LIMITS, *limits],
        "Licence": [licence or UNKNOWN_LICENCE],
    }
    head = f"---\nlicense: {licence_name}\nlibrary_name: sth-workbench\npipeline_tag: video-classification\n---\n"
    body = "".join(
        f"\n## {title}\n\n" + "".join(f"- {visible(line)}\n" for line in lines) for title, lines in sections.items()
    )
    with temporary_beside(card) as beside:
        beside.write_text(f"{head}\n# {visible(checkpoint.stem)}\n{body}", encoding="utf-8")
    return card


def described_network(facts: CheckpointFacts, parameters: int) -> list[str]:
    config, p = facts.config, facts.preprocessing
    conv = f"convolutions: {config.conv}"
    if config.conv.startswith("sth"):
        attention = "with" if config.attention else "without"
        conv += f", a proportion p = {config.temporal_fraction:g} of temporal kernels, {attention} attention"
    return [
        f"{config.backbone}, {config.width} channels in the first stage, {parameters / 1e6:.2f} M parameters; {conv}",
        f"input: {p.frames} frames of {p.crop} x {p.crop} pixels, {p.modality}",
        f"output: {len(facts.classes)} classes: {', '.join(facts.classes)}",
    ]


def described_data(facts: CheckpointFacts) -> list[str]:
    training, annotation = facts.training, facts.annotation
    clips = training.get("train_clips", "an unknown number of")
    lines = [f"{clips} clips, labelled by {annotation.label or 'their folders'}"]
    if training.get("split_from"):
        lines.append(f"splits: {training['split_from']}")
    if training.get("groups_from"):
        lines.append(f"source videos: {training['groups_from']}")
    return lines


def described_training(facts: CheckpointFacts, command: str) -> list[str]:
    recipe: Mapping[str, Any] = facts.training.get("recipe", {})
    of, start = recipe.get("optimisation", {}), recipe.get("start", {})
    began = "random weights"
    if start.get("imagenet"):
        began = "torchvision's ImageNet weights (IMAGENET1K_V1), which have terms of their own"
    elif start.get("checkpoint"):
        began = f"the weights of {Path(start['checkpoint']).name}"
    chosen = ("epochs", "batch_size", "learning_rate", "weight_decay", "precision", "seed")
    settings = ", ".join(f"{name} {of[name]}" for name in chosen if name in of)
    lines = [f"start: {began}", f"settings: {settings or 'not recorded'}"]
    return [*lines, "the weights are those after the last epoch", *[f"command: `{command}`"] * bool(command)]


def described_accuracy(facts: CheckpointFacts, others: Sequence[CheckpointFacts]) -> list[str]:
    """The held-out accuracy with its exact interval over clips, and over trainings with several seeds."""
    accuracies = [known_accuracy(one.training) for one in (facts, *others)]
    clips = facts.training.get("val_clips")
    if not isfinite(accuracies[0]) or not isinstance(clips, int) or clips < 1:
        return ["not known: no held-out clip has a label that a training clip has"]
    correct = np.arange(clips) < round(accuracies[0] * clips)
    low, high = share_interval(correct, np.arange(clips))
    lines = [
        f"top-1 on {clips} held-out clips: {accuracies[0]:.3f} ({low:.3f} to {high:.3f}, 95 % over clips; if clips "
        "share source videos this is too narrow, and `sth record` gives the interval over source videos)"
    ]
    known = [one for one in accuracies if isfinite(one)]
    if len(known) > 1:
        half = quantile_of_t(len(known) - 1) * stdev(known) / sqrt(len(known))
        return [*lines, f"mean of {len(known)} seeds: {mean(known):.3f} ± {half:.3f} (95 %, Student's t)"]
    return [*lines, "one training: how much another seed changes this is not known"]


def known_accuracy(training: Mapping[str, Any]) -> float:
    share = training.get("val_accuracy")
    return float(share) if isinstance(share, int | float) and 0 <= share <= 1 else nan
