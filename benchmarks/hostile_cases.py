"""Bad inputs of every kind that a command reads, made from good ones by random faults."""

import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from click.testing import CliRunner

from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.notes import save_note
from analysis.runs.recording import record
from analysis.runs.run_directory import open_run
from sth_core.checkpoint import save_checkpoint
from sth_core.datasets.synthetic import MOTIONS, synthesize
from sth_core.datasets.table import Annotation, read_dataset
from sth_core.network import create_model
from sth_core.recipe import load_recipe
from sth_core.training import train
from sth_core.video.decoding import all_frames
from sth_core.video.transforms import Preprocessing
from workbench.cli import main

CLIPS = 4  # of each split
RECIPE = """
[data]
label = "motion"
[model]
backbone = "resnet18"
width = 8
frames = 2
[preprocessing]
frames = 2
resize = 36
crop = 32
[augment]
crop_scales = [1.0, 0.875]
flip = true
[optimisation]
epochs = 1
batch_size = 4
learning_rate = 0.05
momentum = 0.9
weight_decay = 5e-4
label_smoothing = 0.05
warmup_epochs = 0
clip_gradient = 5.0
seed = 0
"""
STUDY = """
recipe = "recipe.toml"
seeds = [0]
[axes.question]
"what moves" = { "data.label" = "motion" }
[axes.network]
"2D" = { "model.conv" = "2d" }
"""
STRANGE: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 10**30, 0.5, float("nan"), float("inf"), "", "x", "[/b]", "[red]", "=1+1", "\u202e", [],
    [None], ["a", "a"], {}, {"a": 1}, "../..", "/etc/passwd", "a" * 5000,
)  # fmt: skip
WORDS = (
    "", " ", "-1", "0", "1e400", "nan", "999999999999999999999", "meta", "cuda:99", "/dev/null", "/dev/zero/x", "\x01",
    "[/b]", "(((", "*", "a" * 300, "..", "none", "s3://x/y", "file:///etc", "\u202e", "--", "-o", "\ud800",
)  # fmt: skip
SLOW = ("epochs", "evaluate_every")  # a large number of these is no fault


@dataclass(frozen=True)
class Goods:
    """Sound inputs, from which bad ones are made."""

    folder: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "model.safetensors"

    @property
    def flow_checkpoint(self) -> Path:
        return self.folder / "flow.safetensors"

    @property
    def frames(self) -> Path:
        return self.folder / "frames"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def training(self) -> Path:
        return self.folder / "training"


@dataclass(frozen=True)
class Case:
    """A bad input: the words of the command that reads it (of "notes": a run whose notes are read).

    `name` says what was done to which file. The clips of `out` but those `touched` are compared with the run `like`.
    """

    kind: str
    name: str
    words: list[str]
    out: Path
    like: Path | None = None
    touched: frozenset[str] = field(default_factory=frozenset)


def make_goods(folder: Path) -> Goods:
    goods = Goods(folder)
    for split, seed in (("train", 3), ("val", 4)):
        synthesize(goods.data, CLIPS, seed=seed, split=split, workers=1)
    classes = sorted(MOTIONS)
    for file, modality in ((goods.checkpoint, "rgb"), (goods.flow_checkpoint, "flow")):
        torch.manual_seed(0)
        model = create_model("resnet18", len(classes), width=8, frames=2, modality=modality)
        mean = {"mean": (0.502,), "std": (0.1,)} if modality == "flow" else {}
        p = Preprocessing(modality, frames=2, resize=36, crop=32, **mean)  # type: ignore[arg-type]
        save_checkpoint(file, model.eval(), classes, p, Annotation(label="motion"))
    for video in sorted((goods.data / "val").glob("*.mp4")):
        for part in ("frames", "flowing"):
            (goods.folder / part / video.stem).mkdir(parents=True)
        for i, picture in enumerate(all_frames(video)):
            name = goods.frames / video.stem / f"{i:05d}.png"
            cv2.imwrite(str(name), cv2.resize(picture, (48, 36)))
            for axis in "xy":
                file = goods.folder / "flowing" / video.stem / f"flow_{axis}_{i:05d}.jpg"
                cv2.imwrite(str(file), cv2.resize(picture[..., 0], (48, 36)))
    shutil.copytree(goods.data, goods.folder / "flowed")
    shutil.move(goods.folder / "flowing", goods.folder / "flowed" / "flow")
    record(goods.checkpoint, goods.data, goods.run, DatasetOptions(batch_size=1))
    record(goods.checkpoint, goods.frames, goods.folder / "frames_run", DatasetOptions(batch_size=1))
    record(goods.flow_checkpoint, goods.folder / "flowed", goods.folder / "flow_run", DatasetOptions(batch_size=1))
    shutil.copytree(goods.run, folder / "runs" / "good")
    CliRunner().invoke(main, ["results", str(folder / "runs"), "--csv", str(folder / "out.csv")])
    save_note(open_run(goods.run), next(iter(compared(goods.run))), "a note", 0)
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    recipe = load_recipe(folder / "recipe.toml")
    train(recipe, read_dataset(goods.data, recipe.data), goods.training, "cpu")
    return goods


def compared(run: Path) -> dict[str, tuple[str, tuple[float, ...]]]:
    """{clip_id: (name of its file, scores)} of a run."""
    from analysis.runs.run_directory import predictions

    table = predictions(open_run(run))
    return {row.clip_id: (Path(row.path).name, tuple(row.scores)) for row in table.itertuples()}


# Faults.


def with_fault(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Bytes with one random fault, and what it is."""
    size = len(content)
    a, b = sorted(int(n) for n in rng.integers(0, size + 1, 2))
    changed = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, max(1, min(size, int(rng.choice([64, 512, size])))), int(rng.choice([1, 4, 40])))
    changed[places] = rng.integers(0, 256, len(places))
    lie = struct.pack(rng.choice([">I", "<I", ">Q"]), int(rng.choice([0, 2**31 - 1, 2**32 - 1, 65_535])))
    return {
        "flipped": (changed.tobytes(), f"{len(places)} bytes changed"),
        "truncated": (content[:a], f"cut off after {a} bytes"),
        "empty": (b"", "emptied"),
        "spliced": (content[:a] + content[b:], f"bytes {a} to {b} left out"),
        "doubled": (content[:b] + content[a:], f"bytes {a} to {b} doubled"),
        "zeroed": (content[:a] + bytes(b - a) + content[b:], f"bytes {a} to {b} zero"),
        "lie": (content[:a] + lie + content[a + len(lie) :], f"a number at byte {a} replaced by {lie.hex()}"),
        "marked": (b"\xef\xbb\xbf" + content, "a byte order mark before it"),
        "noise": (rng.bytes(size or 100), "replaced by noise"),
    }[rng.choice(["flipped", "flipped", "truncated", "empty", "spliced", "doubled", "zeroed", "lie", "lie", "marked", "noise"])]  # fmt: skip  # noqa: E501


def damage(file: Path, rng: np.random.Generator) -> str:
    """Give a file a random fault; returns what was done."""
    content, what = with_fault(file.read_bytes(), rng)
    file.write_bytes(content)
    return f"{file.name}: {what}"


def strange_value(value: Any, rng: np.random.Generator) -> tuple[Any, str]:
    """JSON in which a random value is replaced, left out or joined by another, and what was done."""
    keys = [key for key in value if key not in SLOW] if isinstance(value, dict) else [*range(len(value))]
    if not keys:
        return value, "nothing changed"
    key, copy = keys[int(rng.integers(len(keys)))], value.copy()
    if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.6:
        copy[key], what = strange_value(value[key], rng)
        return copy, f"{key}.{what}"
    if isinstance(value, dict) and rng.random() < 0.25:
        if rng.random() < 0.5:
            del copy[key]
            return copy, f"{key} left out"
        copy["unknown"] = STRANGE[int(rng.integers(len(STRANGE)))]
        return copy, f"unknown = {copy['unknown']!r:.30}"
    copy[key] = STRANGE[int(rng.integers(len(STRANGE)))]
    return copy, f"{key} = {copy[key]!r:.30}"


def pick(paths: Any, rng: np.random.Generator) -> Path:
    found = sorted(paths)
    return Path(found[int(rng.integers(len(found)))])


# Cases: a function for each kind.


def recording(checkpoint: Path, data: Path, out: Path) -> list[str]:
    # One clip at once: how a CPU adds, and so the last bits of a score, may depend on how many are computed together.
    one = ["--batch-size", "1", "--workers", "2"]
    return ["record", str(checkpoint), "--data", str(data), "-o", str(out), *one]


def a_checkpoint(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    file = folder / "bad.safetensors"
    content = goods.checkpoint.read_bytes()
    if rng.random() < 0.6:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        meta = {key: json.loads(text) if text[:1] in "{[" else text for key, text in header["__metadata__"].items()}
        meta, what = strange_value(meta, rng)
        header["__metadata__"] = {key: v if isinstance(v, str) else json.dumps(v) for key, v in meta.items()}
        packed = json.dumps(header).encode()
        file.write_bytes(struct.pack("<Q", len(packed)) + packed + content[8 + length :])
    else:
        file.write_bytes(content)
        what = damage(file, rng)
    return Case("checkpoint", what, recording(file, goods.data, folder / "out"), folder / "out")


def toml_of(value: Any) -> str:
    """A value as TOML, or as what comes near it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_of, value))}]"
    return {float("inf"): "inf"}.get(value, json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf"))


def a_toml(goods: Goods, folder: Path, rng: np.random.Generator, *, kind: str) -> Case:
    texts = {"recipe": RECIPE, "study": STUDY}
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    file = folder / f"{kind}.toml"
    if rng.random() < 0.75:
        lines = texts[kind].splitlines()
        settable = [i for i, line in enumerate(lines) if " = " in line and not line.startswith(SLOW)]
        i = settable[int(rng.integers(len(settable)))]
        value = STRANGE[int(rng.integers(len(STRANGE)))]
        lines[i] = f"{lines[i].split(' = ')[0]} = {toml_of(value)}"
        file.write_text("\n".join(lines), encoding="utf-8")
        what = lines[i][:60]
    else:
        what = damage(file, rng)
    command = "train" if kind == "recipe" else "study"
    words = [command, str(file), "--data", str(goods.data), "-o", str(folder / "out"), "--device", "cpu"]
    return Case(kind, what, words, folder / "out")


def a_run(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    runs = folder / "runs"
    shutil.copytree(goods.run, runs / "good")
    shutil.copytree(goods.run, runs / "bad")
    file = pick((p for p in (runs / "bad").rglob("*") if p.suffix in (".json", ".parquet")), rng)
    if file.suffix == ".json" and rng.random() < 0.8:
        value, what = strange_value(json.loads(file.read_text(encoding="utf-8")), rng)
        file.write_text(json.dumps(value), encoding="utf-8")
    else:
        what = damage(file, rng)
    words = ["results", str(runs), "--csv", str(folder / "out.csv")]
    return Case("run directory", what, words, folder / "out.csv", goods.folder / "out.csv")


def a_manifest(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    data = folder / "data"
    shutil.copytree(goods.data, data)
    file = data / "manifest.csv"
    if rng.random() < 0.5:
        lines = file.read_text(encoding="utf-8").splitlines()
        row, cells = int(rng.integers(len(lines))), None
        cells = lines[row].split(",")
        place = int(rng.integers(len(cells)))
        cells[place] = str(STRANGE[int(rng.integers(len(STRANGE)))])
        lines[row] = ",".join(cells)
        file.write_text("\n".join(lines), encoding="utf-8")
        what = f"row {row}, cell {place} = {cells[place]:.30}"
    else:
        what = damage(file, rng)
    return Case("manifest", what, recording(goods.checkpoint, data, folder / "out"), folder / "out", goods.run)


def a_list(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    data = folder / "data"
    shutil.copytree(goods.data / "val", data / "val")
    videos = sorted((data / "val").glob("*.mp4"))
    if rng.random() < 0.5:
        file = data / "val.txt"
        file.write_text("".join(f"val/{v.name} {i % 2}\n" for i, v in enumerate(videos)), encoding="utf-8")
    else:
        file = data / "metadata.jsonl"
        file.write_text("".join(json.dumps({"file_name": f"val/{v.name}", "label": "a"}) + "\n" for v in videos))
    what = damage(file, rng)
    return Case("annotation file", what, recording(goods.checkpoint, data, folder / "out"), folder / "out")


def a_video(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    data = folder / "data"
    shutil.copytree(goods.data, data)
    file = pick((data / "val").glob("*.mp4"), rng)
    words, touched = recording(goods.checkpoint, data, folder / "out"), frozenset({f"val/{file.name}"})
    return Case("video", damage(file, rng), words, folder / "out", goods.run, touched)


def a_frame_folder(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    data = folder / "data"
    shutil.copytree(goods.frames, data)
    file = pick(data.rglob("*.png"), rng)
    words, touched = recording(goods.checkpoint, data, folder / "out"), frozenset({file.parent.name})
    return Case("frame folder", damage(file, rng), words, folder / "out", goods.folder / "frames_run", touched)


def a_flow_folder(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    data = folder / "data"
    shutil.copytree(goods.folder / "flowed", data)
    file = pick((data / "flow").rglob("*.jpg"), rng)
    if rng.random() < 0.3:
        file.unlink()
        what = f"{file.name} removed"
    else:
        what = damage(file, rng)
    touched = frozenset({f"val/{file.parent.name}.mp4"})
    words = recording(goods.flow_checkpoint, data, folder / "out")
    return Case("flow folder", what, words, folder / "out", goods.folder / "flow_run", touched)


def a_state(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    out = Path(shutil.copytree(goods.training, folder / "out"))
    file = pick([out / "state.pt", out / "state.pt", out / "training.json", out / "clips.csv"], rng)
    what = damage(file, rng) if file.is_file() else f"no {file.name}"
    more = ["--set", "optimisation.epochs=2", "--resume"]
    words = ["train", str(goods.folder / "recipe.toml"), "--data", str(goods.data), "-o", str(out), "--device", "cpu"]
    return Case("training state", what, words + more, out)


OUTPUTS = {  # commands whose outputs are damaged before they are called again
    "record": "record {network} {data} --split val",
    "probe": "probe {network} {data} --split val",
    "intervene": "intervene {network} {data} --split val",
    "trust": "trust {network} {data} --split val --clips 3",
    "train": "train {recipe} {data}",
    "study": "study {study} {data} --jobs 1",
    "fuse": "fuse {run} {run}",
    "flow": "data flow {videos} --side 32 --workers 1",
    "check": "data check {videos} --workers 1",
}
DAMAGED = {".json", ".jsonl", ".csv", ".parquet", ".safetensors", ".jpg", ".txt"}


def an_output(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    """A command is called again with its own output, one of whose files is damaged."""
    name = list(OUTPUTS)[int(rng.integers(len(OUTPUTS)))]
    (goods.folder / "study.toml").write_text(STUDY, encoding="utf-8")
    paths = {
        "network": goods.checkpoint, "run": goods.run, "videos": goods.data,
        "data": f"--data {goods.data} --device cpu",
        **{kind: goods.folder / f"{kind}.toml" for kind in ("recipe", "study")},
    }  # fmt: skip
    words, good, out = OUTPUTS[name].format(**paths).split(), goods.folder / "outputs" / name, folder / "out"
    if not good.exists():
        CliRunner().invoke(main, [*words, "-o", str(good)])
    shutil.copytree(good, out)
    kinds: dict[tuple[str, str], list[Path]] = {}  # a table of many parts is as likely as a single file
    for path in out.rglob("*"):
        if path.suffix in DAMAGED:
            kinds.setdefault(
                (path.parent.name if path.suffix in (".parquet", ".jpg") else path.name, path.suffix), []
            ).append(path)
    of_kind = sorted(kinds)
    file = pick(kinds[of_kind[int(rng.integers(len(of_kind)))]], rng)
    if file.suffix == ".json" and rng.random() < 0.6:
        value, what = strange_value(json.loads(file.read_text(encoding="utf-8")), rng)
        file.write_text(json.dumps(value), encoding="utf-8")
        what = f"{file.name}: {what}"
    else:
        what = damage(file, rng)
    return Case("earlier output", f"{name}, {what}", [*words, "-o", str(out)], out)


def some_arguments(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    out = str(folder / "out")
    good = [
        recording(goods.checkpoint, goods.data, folder / "out"),
        ["evaluate", str(goods.checkpoint), "--data", str(goods.data), "-o", out, "--clips", "1"],
        ["cam", str(goods.checkpoint), str(next((goods.data / "val").glob("*.mp4"))), "-o", f"{out}.mp4"],
        ["fuse", str(goods.run), str(goods.run), "-o", out],
        ["results", str(goods.run.parent), "--csv", f"{out}.csv"],
        ["complexity", "--frames", "8"],
        ["data", "check", str(goods.data), "-o", out],
        ["figures", str(folder), "-o", out],
    ]
    words = list(good[int(rng.integers(len(good)))])
    # Not the command itself, and no word where it would be the folder to write to, which anyone may name.
    places = [i for i in range(1, len(words)) if not {"-o", "--csv"} & {words[i - 1], words[i]}]
    place, word = places[int(rng.integers(len(places)))], WORDS[int(rng.integers(len(WORDS)))]
    words[place] = word
    return Case("arguments", f"sth {words[0]}: word {place} = {word!r:.30}", words, folder / "out")


def some_notes(goods: Goods, folder: Path, rng: np.random.Generator) -> Case:
    run = Path(shutil.copytree(goods.run, folder / "run"))
    return Case("notes", damage(run / "notes.sqlite", rng), ["notes", str(run)], run / "none")


MAKERS: dict[str, Callable[[Goods, Path, np.random.Generator], Case]] = {
    "checkpoint": a_checkpoint,
    "recipe": partial(a_toml, kind="recipe"),
    "study": partial(a_toml, kind="study"),
    "run directory": a_run,
    "training state": a_state,
    "earlier output": an_output,
    "manifest": a_manifest,
    "annotation file": a_list,
    "video": a_video,
    "frame folder": a_frame_folder,
    "flow folder": a_flow_folder,
    "notes": some_notes,
    "arguments": some_arguments,
}


def make_case(goods: Goods, folder: Path, number: int, seed: int) -> Case:
    """The case of a number, made in a new folder: kinds take turns, and the same seed makes the same case."""
    kind = list(MAKERS)[number % len(MAKERS)]
    folder.mkdir(parents=True)
    return MAKERS[kind](goods, folder, np.random.default_rng([seed, number]))
