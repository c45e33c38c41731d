"""Video classifiers of Hugging Face's hub or of a local folder (`pip install "sth-workbench[transformers]"`).

Their own code downloads them, from safetensors files alone, and their cache is used (HF_HOME, HF_HUB_OFFLINE). Code
that lies beside weights is never run.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sth_core.adapted import HiddenWeights, adapt, frames_first, hidden_by
from sth_core.checkpoint import Checkpoint, load_fitting
from sth_core.errors import UserError
from sth_core.grids import Grid, Tokens
from sth_core.token_attention import FRAME, JOINT, READ, TIME, AttentionModule, TokenAttention
from sth_core.video.other_libraries import preprocessing_of_transformers
from sth_core.video.transforms import Preprocessing

NEEDS = "hf: networks need the package transformers; pip install 'sth-workbench[transformers]'"
BLOCK = re.compile(r"[a-z0-9]+\.(?:encoder\.)?layers?\.\d+")
KINETICS_CLASSES = (400, 600, 700)
SETTINGS = ("preprocessor_config.json", "video_preprocessor_config.json")


@dataclass(frozen=True)
class Architecture:
    """How a kind of transformer lays out its tokens, from its configuration; with `class_token_last` only the first
    token of the last block is read, so that no gradient reaches its others. `strides` are, by its number of frames, how
    far apart they were in its training on Kinetics, which its files do not say, and `dense` how they lay there. Their
    authors say it: VideoMAE in its finetune.sh (sampling_rate 4), TimeSformer in the names of its files and configs
    (8x32, 16x16, 96x4), ViViT in vivit_base_k400.py (num_frames 32, stride 2)."""

    tokens: Callable[[Any], Tokens]
    frames: str
    side: str
    class_token_last: Callable[[Any], bool]
    weights: str  # the module in a block whose output has the attention weights
    strides: dict[int, int] = field(default_factory=dict)
    dense: str = "loop"

    def sampling(self, config: Any) -> dict[str, Any]:
        """Dense, if by its number of classes it was trained on Kinetics; else segments of the whole video."""
        stride = self.strides.get(getattr(config, self.frames), 0) if config.num_labels in KINETICS_CLASSES else 0
        return {"stride": stride, "dense": self.dense} if stride else {}


def tokens(frames: int, side: int, tubelet: tuple[int, int], *, extra: int = 0, time_last: bool = False) -> Tokens:
    """Of clips of so many frames and pixels a side; a token is of a tubelet of (frames, pixels a side)."""
    cells = side // tubelet[1]
    return Tokens(frames // tubelet[0], cells, cells, extra=extra, time_last=time_last)


ARCHITECTURES = {
    "videomae": Architecture(
        lambda c: tokens(c.num_frames, c.image_size, (c.tubelet_size, c.patch_size)),
        "num_frames", "image_size", lambda c: not c.use_mean_pooling, "attention.attention", {16: 4}, "hold",
    ),
    "timesformer": Architecture(
        lambda c: tokens(c.num_frames, c.image_size, (1, c.patch_size), extra=1, time_last=True),
        "num_frames", "image_size", lambda c: True, "attention.attention.attn_drop", {8: 32, 16: 16, 96: 4}, "spread",
    ),
    "vivit": Architecture(
        lambda c: tokens(c.num_frames, c.image_size, (c.tubelet_size[0], c.tubelet_size[1]), extra=1),
        "num_frames", "image_size", lambda c: True, "attention", {32: 2},
    ),
    "vjepa2": Architecture(
        lambda c: tokens(c.frames_per_clip, c.crop_size, (c.tubelet_size, c.patch_size)),
        "frames_per_clip", "crop_size", lambda c: False, "attention",
    ),
}  # fmt: skip


def hugging_face_network(
    name: str, weights: dict[str, Tensor] | None, classes: list[str] | None, *, download: bool = True
) -> Checkpoint:
    """The video classifier of a repository of the hub (owner/name), or of a folder that `save_pretrained` wrote.

    Raises UserError: transformers is not installed, it cannot be had, or it is of a kind that is not known here.
    """
    try:
        from transformers import AutoConfig, AutoModelForVideoClassification
    except ImportError as error:
        raise UserError(NEEDS) from error
    try:
        config = AutoConfig.from_pretrained(name, local_files_only=not download)
    except (OSError, ValueError) as error:
        raise UserError(f"hf:{name} cannot be had: {str(error).splitlines()[0]}") from error
    kind = ARCHITECTURES.get(config.model_type)
    if kind is None:
        raise UserError(
            f"hf:{name} is a {config.model_type}; hf: takes {', '.join(ARCHITECTURES)}. For others write a function "
            f"that returns sth_core.adapt(module, ...), and name it as FILE.py:FUNCTION"
        )
    try:  # eager: fused kernels do not give the attention weights
        module = AutoModelForVideoClassification.from_pretrained(
            name, config=config, use_safetensors=True, attn_implementation="eager", local_files_only=not download
        )
        settings = preprocessor_settings(name, local_files_only=not download)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"hf:{name} cannot be had: {str(error).splitlines()[0]}") from error
    if weights is not None:
        load_fitting(module, weights, f"the weights do not fit hf:{name}")
    try:
        p = preprocessing_of_transformers(
            settings,
            frames=getattr(config, kind.frames),
            model_type=config.model_type,
            side=getattr(config, kind.side),
            **kind.sampling(config),
        )
    except UserError as error:
        raise UserError(f"hf:{name}: {error}") from error
    return adapt_transformer(module, classes=classes, preprocessing=p, name=Path(name).name)


def adapt_transformer(
    module: nn.Module, *, preprocessing: Preprocessing, classes: list[str] | None = None, name: str = ""
) -> Checkpoint:
    """A video classifier of transformers that is open already, for every function that takes a checkpoint; `classes`
    are by default those of its configuration.

    Raises UserError: it is of a kind that is not known here, or as of `adapt`.
    """
    config: Any = getattr(module, "config", None)
    kind = ARCHITECTURES.get(getattr(config, "model_type", ""))
    if kind is None:
        raise UserError(f"{type(module).__name__} is none of {', '.join(ARCHITECTURES)}; sth_core.adapt takes it")
    names = classes or [str(config.id2label[i]) for i in range(config.num_labels)]
    attention, layers = attention_of(module, config, kind), layers_of(module, config, kind)
    how: Any = {"preprocessing": preprocessing, "name": name, "call": frames_first, "layers": layers}
    try:
        return adapt(module, classes=names, attention=attention, **how)
    except HiddenWeights as error:  # transformers of another version
        return adapt(module, classes=names, attention=attention and replace(attention, hidden=str(error)), **how)


def layers_of(module: nn.Module, config: Any, kind: Architecture) -> dict[str, Grid]:
    """The blocks of a transformer, without the last one if only its class token is read."""
    return dict.fromkeys(blocks_of(module)[: -1 if kind.class_token_last(config) else None], kind.tokens(config))


def blocks_of(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_modules() if BLOCK.fullmatch(name)]


def attention_of(module: nn.Module, config: Any, kind: Architecture) -> TokenAttention | None:
    """Where a transformer computes attention; None if it never looks across time (TimeSformer's "space_only")."""
    how, found = getattr(config, "attention_type", ""), []
    if how == "space_only":
        return None
    for block in blocks_of(module):
        if how == "divided_space_time":
            found.append(AttentionModule(block, f"{block}.temporal_{kind.weights}", TIME))
        found.append(AttentionModule(block, f"{block}.{kind.weights}", FRAME if how == "divided_space_time" else JOINT))
    if config.model_type == "vjepa2":
        poolers = [f"pooler.self_attention_layers.{i}" for i in range(config.num_pooler_layers)]
        found += [AttentionModule(pooler, f"{pooler}.self_attn", JOINT) for pooler in poolers]
        read = "pooler.cross_attention_layer"
        found.append(AttentionModule(read, f"{read}.cross_attn", READ))
    kernel = getattr(config, "_attn_implementation", None) or "eager"  # TimeSformer has no kernel but its own
    hidden = "" if how or kernel == "eager" else hidden_by(type(module).__name__, kernel)
    return TokenAttention(kind.tokens(config), tuple(found), kind.class_token_last(config), hidden)


def preprocessor_settings(name: str, **where: bool) -> dict[str, Any]:
    """What a repository says of its preprocessing; empty if it says nothing."""
    from transformers.utils import cached_file

    for file in SETTINGS:
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **where)
        if found:
            return dict(json.loads(Path(found).read_text(encoding="utf-8")))
    return {}
