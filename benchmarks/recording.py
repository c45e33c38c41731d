"""What recording costs over evaluation: time, bytes on disk and memory.

\b
    sth benchmark recording                              ResNet-50 on clips that it makes
    sth benchmark recording --backbone resnet18 --frames 16 --device cuda
    sth benchmark recording --adapted r3d_18 --side 112  a network of torchvision, against the module itself

First table: the same clips through the same network, with more or less of the results kept. In each round every variant
runs once, so that a slow moment of the machine affects all; the table shows the median.

Second table: many clips, each number from a process of its own. Nothing is decoded and no network runs: made-up logits
and attention of the network's shapes are written as a recording writes them, and read again as a recording that is
resumed reads them.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import click
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchvision.models import get_model

from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.recording import record, recorded_accuracy
from analysis.runs.rows import ShardWriter
from analysis.runs.run_directory import SHARD_KINDS
from benchmarks.clips import make_dataset
from benchmarks.measuring import (
    LEGEND,
    clock_of,
    in_own_process,
    machine,
    peak_resident,
    print_head,
    print_row,
    times_in_turns,
)
from sth_core.adapted import AdaptedNetwork, adapt
from sth_core.adapters.torchvision_networks import FAMILIES
from sth_core.checkpoint import Checkpoint, save_checkpoint
from sth_core.convolution import UNOBSERVED, Tap
from sth_core.datasets.clips import EvaluationClips, Sample
from sth_core.datasets.table import read_dataset
from sth_core.errors import UserError
from sth_core.evaluation import BatchResult, run_over
from sth_core.memory import keep_freed_memory
from sth_core.network import create_model, pick_device
from sth_core.network_contract import Network
from sth_core.open_network import Named, open_network
from sth_core.precision import computing_in, precision_on
from sth_core.shards import Shards
from sth_core.video.transforms import Preprocessing
from workbench.cli.options import device_option, precision_option

CLASSES = [f"class {i}" for i in range(174)]
BATCH = 8
NOTHING, PREDICTIONS, FEATURES = "nothing", "predictions (sth evaluate)", "features too"
MEANS, VECTORS = "means of α too", "vectors of α too"
Variant = Callable[[Path], object]  # of a run directory


@click.command(help=__doc__)
@click.option("--backbone", default="resnet50", show_default=True)
@click.option("--adapted", help="One of torchvision instead, adapted: r3d_18, mc3_18, ...; one table.")
@click.option("--frames", default=8, show_default=True, type=click.IntRange(1))
@click.option("--side", default=224, show_default=True, type=click.IntRange(32))
@click.option("--clips", default=16, show_default=True, type=click.IntRange(1), help="Clips to make and record.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--few", default=1_000, show_default=True, type=click.IntRange(1), help="Made-up clips to write.")
@click.option("--many", default=100_000, show_default=True, type=click.IntRange(1), help="... and how many in the end.")
@device_option
@precision_option
@click.option("--write", type=click.IntRange(1), hidden=True, help="Only write so many made-up clips; print the peak.")
@click.option("--vectors", is_flag=True, hidden=True)
def main(
    backbone: str, adapted: str | None, frames: int, side: int, clips: int, rounds: int, few: int, many: int,
    device: str, precision: str, write: int | None, vectors: bool,
) -> None:  # fmt: skip
    keep_freed_memory()
    where = pick_device(device)
    if write:
        with TemporaryDirectory() as folder:
            write_synthetic(Path(folder), write, backbone, vectors)
            print(peak_resident(), sum(file.stat().st_size for file in Path(folder).rglob("*.parquet")))
        return
    with TemporaryDirectory() as folder:
        checkpoint: Named = Path(folder) / "network.safetensors"
        run = Path(folder) / "run"
        if adapted:
            checkpoint = adapted_network(adapted, frames, side)
        else:
            save_network(Path(folder) / "network.safetensors", backbone, frames, side)
        data = make_dataset(Path(folder) / "data", clips, 60, lambda _: f"val/{CLASSES[0]}")
        ways = variants(checkpoint, data, device, precision)
        ways[NOTHING](run)  # the index of a file's frames is cached then
        steps = {kept: partial(in_new_folder, way, Path(folder)) for kept, way in ways.items()}
        took, clock = times_in_turns(steps, rounds), clock_of(where.type)
    size = f"{frames} x {side} x {side}, {clips} clips in batches of {BATCH}"
    how = f"{size}, {precision_on(precision, where)}; {machine(str(where))}, median of {rounds} rounds"
    by = "CPU time" if clock == "cpu" else "time"
    print(f"\n{adapted or backbone}, {how}\n")
    print_head("what is stored", "clips/s", "ms of CPU a clip", f"{by} / evaluation's", f"{by} / storing nothing")
    for kept, times in took.items():
        quotients = (f"{times.over(took[other], clock):.3f}" for other in (PREDICTIONS, NOTHING))
        print_row(kept, f"{clips / times.median('wall'):.2f}", f"{1e3 * times.median('cpu') / clips:.1f}", *quotients)
    print(f"\n{LEGEND}")
    if adapted:
        return

    layers = len(create_model(backbone, len(CLASSES), frames=frames).attention_layers)
    how = "made-up rows replace decoding and network, each line is a process of its own"
    print(f"\n{layers} layers with attention, {len(CLASSES)} classes; {how}\n")
    print_head("clips", "what is stored", "bytes per clip on disk", "peak resident memory, MB")
    for count, kept in ((few, MEANS), (few, VECTORS), (many, MEANS)):
        print(f"writing {count} clips", file=sys.stderr)
        words = ["--write", count, "--backbone", backbone, *["--vectors"] * (kept == VECTORS)]
        peak, size_on_disk = map(int, in_own_process("recording", *words))
        print_row(f"{count:,}", kept, f"{size_on_disk / count:,.0f}", f"{peak / 1e6:.0f}")


def save_network(file: Path, backbone: str, frames: int, side: int) -> None:
    torch.manual_seed(0)
    preprocessing = Preprocessing("rgb", frames, resize=side * 8 // 7, crop=side)
    save_checkpoint(file, create_model(backbone, len(CLASSES), frames=frames), CLASSES, preprocessing)


def adapted_network(name: str, frames: int, side: int) -> Checkpoint:
    """A network of torchvision with random weights. Raises UserError: there is no such one."""
    if name not in FAMILIES:
        raise UserError(f"no network {name!r} of torchvision is known here; possible: {', '.join(FAMILIES)}")
    torch.manual_seed(0)
    module, p = get_model(name, num_classes=len(CLASSES)), Preprocessing(frames=frames, resize=side * 8 // 7, crop=side)
    layers = FAMILIES[name].layers([layer for layer, _ in module.named_modules()])
    return adapt(module, classes=CLASSES, preprocessing=p, name=name, layers=layers)


class ModuleItself(Network):
    """What an adapted network wraps, without what observes it."""

    def __init__(self, adapted: AdaptedNetwork) -> None:
        super().__init__()
        self.module, self.call = adapted.module, adapted.call
        self.num_classes, self.frames, self.modality = adapted.num_classes, adapted.frames, adapted.modality

    def forward(self, clips: Tensor, tap: Tap = UNOBSERVED) -> Tensor:
        return self.call(self.module, clips)


def variants(network: Named, data: Path, device: str, precision: str) -> dict[str, Variant]:
    """What keeps nothing, predictions, and more; each runs over the dataset, a checkpoint's file is opened before. Of
    an adapted network, the module itself is what keeps nothing."""

    def keep_nothing(run: Path) -> None:
        loaded = open_network(network, pick_device(device))
        clips = EvaluationClips(read_dataset(data, loaded.annotation), loaded.classes, loaded.preprocessing)
        model = loaded.inference_model
        if isinstance(model, AdaptedNetwork):
            model = ModuleItself(model)
        with computing_in(precision, pick_device(device)):
            deque(run_over(model, clips, loaded.preprocessing, BATCH), maxlen=0)

    keep = partial(record, network, data, options=DatasetOptions(device=device, precision=precision, batch_size=BATCH))
    ways: dict[str, Variant] = {NOTHING: keep_nothing, PREDICTIONS: partial(keep, with_attention=False)}
    if isinstance(network, Checkpoint):
        return ways | {FEATURES: partial(keep, features=True)}
    return ways | {MEANS: keep, VECTORS: partial(keep, vectors=True)}


def in_new_folder(way: Variant, folder: Path) -> None:
    way(Path(mkdtemp(dir=folder)) / "run")


def write_synthetic(run: Path, clips: int, backbone: str, vectors: bool) -> None:
    """Write made-up clips as a recording does, and read them as a resumed recording does."""
    model = create_model(backbone, len(CLASSES), frames=1)
    with torch.inference_mode():
        alphas = model.eval().forward_with_attention(torch.zeros(1, 1, 3, 32, 32))[1]
    written = Shards(run, SHARD_KINDS)
    written.tidy()
    writer = ShardWriter(written, 0, 1, CLASSES, model.attention_layers, vectors)
    table = table_of(clips)
    for batch, some in synthetic_results(table, {name: alpha.shape[2] for name, alpha in alphas.items()}):
        writer.add(batch, some)
    writer.flush()
    missing = table[~table["clip_id"].isin(written.done())]
    if len(missing) or written.next_number() != writer.number or not 0 <= recorded_accuracy(run, CLASSES) <= 1:
        raise RuntimeError(f"{len(missing)} of {clips} clips were not written")


def table_of(clips: int) -> pd.DataFrame:
    """A table as of `read_dataset`, of clips that do not exist."""
    names = [f"val/class {i % len(CLASSES)}/{i:06d}.mp4" for i in range(clips)]
    labels = [CLASSES[i % len(CLASSES)] for i in range(clips)]
    paths = [f"/data/{name}" for name in names]
    known = {"clip_id": names, "path": paths, "label": labels, "split": "val", "group": names}
    return pd.DataFrame(known | {"flow": "", "problem": "", "backward": False, "segment": ""})


def synthetic_results(table: pd.DataFrame, channels: dict[str, int]) -> Iterator[tuple[BatchResult, pd.DataFrame]]:
    """Made-up logits of each clip, and attention of each layer with so many channels."""
    random = torch.Generator().manual_seed(0)
    for start in range(0, len(table), BATCH):
        some = table.iloc[start : start + BATCH].reset_index(drop=True)
        B, K = len(some), len(CLASSES)
        samples = [Sample(row, None, (start + row) % K, np.arange(8)) for row in range(B)]
        temporal = {name: torch.rand(B, C, generator=random) for name, C in channels.items()}
        attention = {name: torch.stack([1 - alpha, alpha], 1) for name, alpha in temporal.items()}
        yield BatchResult(samples, [], torch.randn(B, 1, K, generator=random), attention), some
