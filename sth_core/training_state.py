"""What a training's folder says of it: which training it is, and the state from which it resumes."""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch

from sth_core.checkpoint import broken_weights, misfits
from sth_core.errors import OtherWork, UserError, shorten
from sth_core.files import cannot_write, naming, sync, temporary_beside
from sth_core.network import VideoNetwork
from sth_core.recipe import SECTIONS, Recipe
from sth_core.resumable import Json, Work, flatten_keys
from sth_core.training_clips import CLIPS_TABLE, TrainingClips, explained_differences, identity_of
from sth_core.values import Between, describe_values, fits

STATE, NETWORK, BEST = "state.pt", "model.safetensors", "best.safetensors"
CARD = Path(NETWORK).with_suffix(".md").name
TRAINING_FILES = (STATE, NETWORK, BEST, CARD, "metrics.csv", CLIPS_TABLE, "failures.parquet", "curves.*", "tensorboard")
ADJUSTABLE = frozenset(
    f"optimisation.{key}"
    for key in (
        "epochs", "learning_rate", "schedule", "decay_epochs", "warmup_epochs", "momentum", "weight_decay",
        "label_smoothing", "clip_gradient", "evaluate_every", "accumulate", "precision", "deterministic",
    )
)  # fmt: skip
Whole = Annotated[int, Between(0, 10**9)]
Finite = Annotated[float, Between(-1e300, 1e300)]
SAVED: dict[str, Any] = {  # by the names of its parts, what a state's file has
    "sums": dict, "epoch": Whole, "step": Whole, "metrics": list, "best": Finite, "val_failures": dict,
    "train_failures": dict, "model": dict, "optimiser": dict, "scaler": dict,
}  # fmt: skip
SUMS = dict.fromkeys(("loss", "correct", "clips"), Finite)
METRICS = {"epoch": Whole, "loss": Finite, "accuracy": Finite, "learning_rate": Finite, "val_accuracy": float,
           "val_clips": Whole}  # fmt: skip
FINISHED = {"val_accuracy": Finite | None, "val_clips": Whole}  # of training.json
SCALER = {"scale": Finite, "growth_factor": Finite, "backoff_factor": Finite, "growth_interval": Whole,
          "_growth_tracker": Whole}  # fmt: skip
COUNTERS = ("epoch", "step", "metrics", "best", "val_failures", "train_failures")  # of a state, saved as they are


@dataclass
class EpochSums:
    """Over the clips of an epoch so far, of all processes."""

    loss: float = 0.0
    correct: float = 0.0
    clips: float = 0.0

    @property
    def mean_loss(self) -> float:
        return self.loss / max(1, self.clips)

    @property
    def accuracy(self) -> float:
        return self.correct / max(1, self.clips)


@dataclass
class TrainingState:
    """All that changes during a training; the recipe and the data stay."""

    model: VideoNetwork
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    epoch: int = 0
    step: int = 0  # the next one of the epoch
    sums: EpochSums = field(default_factory=EpochSums)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    best: float = -1.0
    val_failures: dict[str, str] = field(default_factory=dict)
    train_failures: dict[str, str] = field(default_factory=dict)
    adjustments: list[Json] = field(default_factory=list)  # which settings were changed after which epoch, from and to

    def save(self, file: Path) -> None:
        plain = {key: getattr(self, key) for key in COUNTERS}
        states = {key: getattr(self, key).state_dict() for key in ("model", "optimiser", "scaler")}
        try:
            with temporary_beside(file) as temporary:
                torch.save({"sums": vars(self.sums), **plain, **states}, temporary)
                sync(temporary)
            sync(file.parent)
        except RuntimeError as error:  # which torch raises when the disk is full
            raise cannot_write(file, error) from error

    def load(self, file: Path, device: torch.device) -> None:
        """Continue from what is saved there, with this call's settings of the optimiser (`lr` is set in each step).
        Raises OtherWork: it is damaged, or no state of this training. Then nothing has changed."""
        ways = "delete it to train from the first epoch again, or give --overwrite"
        try:
            saved = torch.load(file, map_location=device, weights_only=True)
        except Exception as error:  # a damaged file ends the unpickler in any of a dozen ways
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise OtherWork(f"{file} is damaged ({reason}; it has {file.stat().st_size:,} bytes)", ways) from error
        if isinstance(saved, dict) and "val_failures" in saved:
            saved.setdefault("train_failures", {})  # which earlier versions did not save
        if problem := next(filter(None, self.problems_of(saved)), ""):
            raise OtherWork(f"{file} is no state of this training: {problem}", ways)
        self.model.load_state_dict(saved["model"])
        now, before = self.optimiser.state_dict()["param_groups"], saved["optimiser"]["param_groups"]
        groups = [group | {"lr": earlier["lr"]} for group, earlier in zip(now, before, strict=True)]
        self.optimiser.load_state_dict(saved["optimiser"] | {"param_groups": groups})
        if saved["scaler"]:  # empty without fp16
            self.scaler.load_state_dict(saved["scaler"])
        for key in COUNTERS:
            setattr(self, key, saved[key])
        self.sums = EpochSums(**saved["sums"])

    def problems_of(self, saved: Any) -> Iterator[str]:
        """Why training cannot continue from what a file holds; where it can, the sentences are empty. Each holds if the
        ones before it are empty."""
        yield type_problem(saved, SAVED, "state")
        yield type_problem(saved["sums"], SUMS, "sums")
        for row in saved["metrics"]:
            yield type_problem(row, METRICS, "metrics")
        yield "" if len(saved["metrics"]) == saved["epoch"] else "its metrics are not those of its epochs"
        for name in ("val_failures", "train_failures"):
            texts = all(isinstance(text, str) for pair in saved[name].items() for text in pair)
            yield "" if texts else f"{name} has {shorten(saved[name])}, not texts"
        yield type_problem(saved["scaler"], SCALER, "scaler") if saved["scaler"] else ""
        yield self.model_problem(saved["model"])
        yield self.optimiser_problem(saved["optimiser"])

    def model_problem(self, weights: dict[str, Any]) -> str:
        mine = self.model.state_dict()
        if other := [name for name, weight in weights.items() if not is_plain(weight)]:
            return f"{shorten(other[0])} is no tensor of this project"
        shapes, given = ({name: tuple(w.shape) for name, w in some.items()} for some in (mine, weights))
        types = [name for name in mine if name in weights and weights[name].dtype != mine[name].dtype]
        wrong = f"{types[0]} is of type {weights[types[0]].dtype}" if types else ""
        return misfits(shapes, given) or wrong or broken_weights(weights)

    def optimiser_problem(self, saved: dict[str, Any]) -> str:
        """Of the groups of parameters, and of each one's momentum."""
        mine, wanted = self.optimiser.state_dict()["param_groups"], {"state": dict, "param_groups": list}
        if problem := type_problem(saved, wanted, "optimiser"):
            return problem
        numbers = [group.get("params") if isinstance(group, dict) else None for group in saved["param_groups"]]
        if numbers != [group["params"] for group in mine]:
            return "the optimiser's parameters are others"
        if not all(fits(group.get("lr"), Annotated[float, Between(0, 1000)]) for group in saved["param_groups"]):
            return "the optimiser's learning rate is none"
        parameters = [w for group in self.optimiser.param_groups for w in group["params"]]
        fitting = all(fits_parameter(number, kept, parameters) for number, kept in saved["state"].items())
        return "" if fitting else "the optimiser's momentum does not fit the network, or is not finite"


def fits_parameter(number: Any, kept: Any, parameters: list[torch.Tensor]) -> bool:
    """Whether the optimiser can keep this of the parameter of this number: finite momentum of its shape, or none."""
    if not isinstance(kept, dict) or set(kept) - {"momentum_buffer"} or number not in range(len(parameters)):
        return False
    value = kept.get("momentum_buffer")
    return value is None or (
        is_plain(value) and value.shape == parameters[number].shape and bool(torch.isfinite(value).all())
    )


def is_plain(value: Any) -> bool:
    """Whether it is a tensor that is not sparse or packed."""
    return isinstance(value, torch.Tensor) and value.layout is torch.strided


def type_problem(values: Any, wanted: dict[str, Any], what: str) -> str:
    """What is wrong with a table of names and values, if its names or types are not those that are wanted."""
    if not isinstance(values, dict):
        return f"{what} is {shorten(values)}"
    if values.keys() != wanted.keys():
        return f"{what} has {shorten(list(values))}, not {', '.join(wanted)}"
    wrong = next((name for name, hint in wanted.items() if not fits(values[name], hint)), None)
    return "" if wrong is None else f"{what} has {wrong} {shorten(values[wrong])}, not {describe_values(wanted[wrong])}"


def read_metrics(file: Path) -> pd.DataFrame:
    """The epochs of a metrics.csv. Raises UserError: the table cannot be read."""
    try:
        with naming(file):
            table = pd.read_csv(file)
        missing = [name for name in METRICS if name not in table or not pd.api.types.is_numeric_dtype(table[name])]
    except (OSError, ValueError) as error:  # pandas' errors are ValueErrors
        raise UserError(f"{file} cannot be read ({error})") from error
    if missing:
        raise UserError(f"{file} cannot be read (it has no numbers in {', '.join(missing)})")
    return table


def training_work(out: Path, recipe: Recipe, model: VideoNetwork, clips: TrainingClips) -> Work:
    """What makes two trainings the same: all values of the recipe but `compile`, which is like the device a matter of
    speed; the classes, each clip's label and split, and its file's size."""
    kept = clips.kept
    of_clips = identity_of(kept)
    config = {key: value for key, value in asdict(model.config).items() if key != "num_classes"}
    identity = asdict(recipe) | {"model": config, "classes": clips.classes} | of_clips
    del identity["optimisation"]["compile"]
    keys = [(name, key) for name, section in SECTIONS.items() for key in fields(section)]
    defaults = flatten_keys({f"{name}.{key.name}": key.default for name, key in keys if key.default is not MISSING})
    defaults |= {"files_sha256": of_clips["files_sha256"]}  # which earlier versions did not write
    explained = explained_differences(out, kept)
    return Work(out, "training.json", "training", identity, TRAINING_FILES, defaults, ADJUSTABLE, explained)


def resume_state(
    state: TrainingState, work: Work, earlier: Json, device: torch.device, notify: Callable[[str], None]
) -> None:
    """Continue from what the folder holds.
    Raises UserError: the state is missing, is damaged, or has as many epochs as are wanted."""
    if not earlier:
        return
    state.adjustments = earlier.get("adjustments", [])
    if (work.folder / STATE).is_file():
        state.load(work.folder / STATE, device)
    elif (work.folder / NETWORK).is_file():
        missing = f"a network, but no {STATE} to resume it from"
        raise OtherWork(f"{work.folder} holds {missing}", "choose another folder, or give --overwrite")
    else:
        return
    changes = {key: list(values) for key, values in work.differences(earlier).items()}
    if not changes:
        return
    epochs = work.identity["optimisation"]["epochs"]
    if state.epoch >= epochs:
        raise UserError(
            f"the training in {work.folder} has {state.epoch} epochs already; to resume it with other values, "
            f"set optimisation.epochs to more (now {epochs})"
        )
    listed = ", ".join(f"{key} {now} (before: {old})" for key, (old, now) in changes.items())
    notify(f"resumed after {state.epoch} epochs and {state.step} steps with {listed}")
    state.adjustments = [*state.adjustments, {"epoch": state.epoch, "step": state.step, "changes": changes}]
