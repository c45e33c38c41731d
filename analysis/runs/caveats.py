"""What must be said wherever a run's accuracy is shown: invented splits, and clips that the network was trained on."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.runs.correctness import uncounted_sentence, unscored_sentence
from sth_core.datasets.splits import ALL, BY_CHECKSUM, INVENTED, NO_GROUPS

NO_SCORES = "no scores are known"  # how the sentence on such imported predictions begins
LEAK = f"{NO_GROUPS}: clips of one source video may also be in training"


def split_caveat(meta: Mapping[str, Any]) -> str:
    """How held-out clips were chosen if the dataset named no splits; empty if it did, or if it is not known.

    `meta` has split_from and groups_from, as run.json, training.json and a checkpoint's training facts do."""
    how, groups = str(meta.get("split_from") or ""), meta.get("groups_from")
    if not how.startswith(f"{INVENTED} ") or meta.get("split") == ALL:
        return ""
    chosen = "by checksum" if BY_CHECKSUM in how else how.removeprefix(f"{INVENTED} ")
    return f"Held-out clips were chosen {chosen}; {f'groups from {groups}' if groups else LEAK}."


def trained_caveat(meta: Mapping[str, Any]) -> str:
    """How many of a run's clips its network was trained on; empty if none were, or if it is not known."""
    trained = meta.get("trained_clips")
    return f"The network was trained on {trained:,} of these {meta['clips']:,} clips." if trained else ""


def uncounted_caveat(clips: pd.DataFrame, classes: list[str]) -> str:
    """Which of a run's clips do not count for accuracy, by their labels and scores; empty if all do."""
    sentences = uncounted_sentence(clips["label"], classes), unscored_sentence(clips)
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences if sentence)


def imported_caveat(meta: Mapping[str, Any]) -> str:
    """Which scores of imported predictions were invented; empty if none were."""
    invented = meta.get("imported", {}).get("invented", "")
    return f"{invented[0].upper()}{invented[1:]}; top-5 accuracy is not known." if invented else ""


def confidence_is_known(meta: Mapping[str, Any]) -> bool:
    """False of imported predictions without any score, whose confidence of 1 was filled in."""
    return not meta.get("imported", {}).get("invented", "").startswith(NO_SCORES)


def known_scores(meta: Mapping[str, Any]) -> int:
    """How many of a clip's highest scores are the network's own: none, the first one, or all (K)."""
    invented = meta.get("imported", {}).get("invented", "")
    return int(confidence_is_known(meta)) if invented else len(meta["classes"])


def accuracy_caveats(meta: Mapping[str, Any], clips: pd.DataFrame | None = None) -> list[str]:
    """The sentences of a run; with the table of its clips also on those that do not count."""
    uncounted = "" if clips is None else uncounted_caveat(clips, meta["classes"])
    return [
        sentence
        for sentence in (trained_caveat(meta), split_caveat(meta), imported_caveat(meta), uncounted)
        if sentence
    ]
