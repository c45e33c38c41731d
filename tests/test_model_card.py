"""A card says what the file says: no more, and nothing of this machine."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.report.model_card import UNKNOWN_LICENCE, write_model_card
from sth_core.checkpoint import save_checkpoint
from sth_core.datasets.table import Annotation
from tests.tiny import CLASSES, RGB, tiny_network
from workbench.demo import NETWORKS, write_card

FACTS = {
    "recipe": {
        "optimisation": {"epochs": 14, "seed": 0, "learning_rate": 0.05},
        "start": {"checkpoint": "/home/somebody/secret/first.safetensors"},
    },
    "val_accuracy": 0.5, "val_clips": 10, "train_clips": 1800, "split_from": "the manifest's column split",
}  # fmt: skip


def saved(path: Path, **changes: Any) -> Path:
    training = {key: value for key, value in (FACTS | changes).items() if value is not None}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, tiny_network(), CLASSES, RGB, Annotation(label="motion"), training)
    return path


def test_the_card_of_a_network(tmp_path: Path) -> None:
    card = write_model_card(saved(tmp_path / "motion.safetensors"), command="sth train motion.toml")
    text = card.read_text(encoding="utf-8")
    assert card == tmp_path / "motion.md" and text.count("\n# motion\n") == 1
    front = yaml.safe_load(text.split("---")[1])
    assert front == {"license": "unknown", "library_name": "sth-workbench", "pipeline_tag": "video-classification"}
    assert "4 frames of 32 x 32 pixels, rgb" in text and f"{len(CLASSES)} classes: {CLASSES[0]}, " in text
    assert "1800 clips, labelled by motion" in text and "splits: the manifest's column split" in text
    assert "settings: epochs 14, learning_rate 0.05, seed 0" in text and "command: `sth train motion.toml`" in text
    assert "the weights of first.safetensors" in text and "/home" not in text
    assert (
        "top-1 on 10 held-out clips: 0.500 (0.187 to 0.813, 95 % over clips" in text
    )  # Clopper and Pearson's, 5 of 10
    assert "how much another seed changes this is not known" in text and UNKNOWN_LICENCE in text


def test_the_spread_over_seeds(tmp_path: Path) -> None:
    others = [saved(tmp_path / f"{seed}.safetensors", val_accuracy=share) for seed, share in ((1, 0.4), (2, 0.6))]
    text = write_model_card(saved(tmp_path / "a.safetensors"), other_seeds=others).read_text(encoding="utf-8")
    # The standard error of 0.4, 0.5 and 0.6 is 0.1 / sqrt(3); Student's t with two degrees of freedom reaches 4.303.
    assert "mean of 3 seeds: 0.500 ± 0.248" in text


@pytest.mark.parametrize(
    "changes", [{"val_accuracy": None}, {"val_accuracy": "high"}, {"val_clips": 0}, {"val_clips": "x"}]
)
def test_an_accuracy_that_is_not_known_is_called_so(changes: dict[str, Any], tmp_path: Path) -> None:
    text = write_model_card(saved(tmp_path / "a.safetensors", **changes)).read_text(encoding="utf-8")
    assert "not known: no held-out clip has a label" in text


def test_the_cards_of_the_demo_state_the_licence_of_the_weights(tmp_path: Path) -> None:
    network = NETWORKS[1]
    for name in (network.name, network.seeded(1).name):
        saved(tmp_path / f"{name}.safetensors")
    text = write_card(network, tmp_path, seeds=2).read_text(encoding="utf-8")
    assert (
        "license: mit" in text and "MIT, as the code" in text and "drawn shapes" in text and "mean of 2 seeds" in text
    )
    assert network.command in text
