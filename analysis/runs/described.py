"""What run.json says of a network, its training, the data and how it was read."""

import hashlib
from pathlib import Path
from typing import Any

from analysis.runs.signals import TIME_SHARE
from sth_core.checkpoint import Checkpoint
from sth_core.datasets.table import Annotation
from sth_core.datasets.tables import DEFAULT_LABEL
from sth_core.network_contract import Layer, Network
from sth_core.video.sampling import Protocol
from sth_core.video.transforms import Preprocessing


def describe(checkpoint: Checkpoint, data: Path, annotation: Annotation, protocol: Protocol) -> dict[str, Any]:
    """What run.json says of the network, the data and the protocol."""
    question = "" if annotation.label in ("", DEFAULT_LABEL) else f": {annotation.label}"
    question += ", both directions" if annotation.direction else ""
    return {
        **checkpoint.model.described(),
        "start": initial_weights(checkpoint.training),
        "seed": checkpoint.training.get("seed"),
        "recipe": checkpoint.training.get("recipe", {}),
        "trained_on": trained_on_of(checkpoint.training),
        "dataset": f"{annotation.inside(data).resolve().name}{question}",
        "data": str(data.resolve()),
        "label": annotation.label,
        "direction": annotation.direction,
        "kind": annotation.kind,
        "group_column": annotation.group,
        "group_pattern": annotation.group_pattern,
        "protocol": {
            "clips_per_video": protocol.clips,
            "crop": {1: "center", 3: "three, of the whole height", 10: "ten"}[protocol.crops],
            "sampling": sampling_of(checkpoint.preprocessing, protocol),
        },
        "preprocessing": preprocessing_in_words(checkpoint.preprocessing),
        "classes": checkpoint.classes,
        "layers": [{"index": a.index, "layer": a.name, "stage": a.stage} for a in observed_layers(checkpoint.model)],
        **(
            {"signal": TIME_SHARE.key, "uniform_share": checkpoint.model.uniform_share}
            if checkpoint.model.token_layers
            else {}
        ),
        **(checkpoint.named.facts if checkpoint.named else {}),
        "checkpoint_sha256": checkpoint.sha256,
    }


def observed_layers(model: Network) -> list[Layer]:
    """The layers that have alpha, or of a transformer those whose attention crosses time."""
    return model.attention_layers or model.token_layers


def sampling_of(p: Preprocessing, protocol: Protocol) -> str:
    """How the frames of the protocol's clips are chosen, in a few words."""
    if p.stride:
        how = {"loop": "", "hold": ", the last frame held", "spread": ", spread to the last of its frames"}[p.dense]
        return f"dense, stride {p.stride}{how}, {'the middle clip' if protocol.clips == 1 else 'evenly spaced clips'}"
    return "segment middles" if protocol.clips == 1 else "evenly in each segment"


def preprocessing_in_words(p: Preprocessing) -> str:
    """How frames become the network's input, in a few words."""
    size = f"short side {p.resize}" if isinstance(p.resize, int) else f"{p.resize[0]} x {p.resize[1]}"
    how = {
        "opencv": "OpenCV's means over areas, linear where it enlarges",
        "opencv_linear": "OpenCV's linear interpolation",
        "bilinear": "PyTorch's bilinear interpolation, not antialiased",
        "pil": "Pillow's bilinear interpolation, antialiased",
    }[p.interpolation]
    begins = {"down": "", "even": " (rounded to even)", "up": " (rounded up)"}[p.crop_rounding]
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (p.mean, p.std))
    return f"{size} by {how}; crop {p.crop}{begins}; mean {mean}; std {std}"


def initial_weights(training: dict[str, Any]) -> str:
    """What a network's training started from: "ImageNet", a checkpoint's name, "random weights", or "" if unknown."""
    if "recipe" not in training:
        return ""
    start = training["recipe"].get("start", {})
    return "ImageNet" if start.get("imagenet") else Path(start.get("checkpoint", "")).name or "random weights"


def trained_on_of(training: dict[str, Any]) -> str:
    """A checksum of the clips that a network was trained on, by which two trainings on the same clips are known."""
    keys = training.get("train_keys", "")
    return hashlib.sha256(keys.encode()).hexdigest()[:16] if keys else ""
