"""Grad-CAM compared with a known truth: each clip shows an object in one place and for a part of its time.

\b
    sth benchmark planted                                    a network of the demo, 96 clips
    sth benchmark planted --network my.safetensors --clips 24

Each clip is a video of a background and, for a quarter to a half of its frames, an object whose kind the network was
trained to classify. Of the clips that it classifies correctly, the table gives the share of the CAM that lies on the
object, in the frames that show it, and in both, and how much more that is than for a random map and a centre prior.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch

from analysis.experiments.tested_maps import explanations, maps_of
from analysis.explain.faithfulness import centre_prior, random_map, upsample_maps
from analysis.statistics.clusters import describe_interval
from analysis.statistics.effects import mean_effect
from benchmarks.measuring import machine, print_head, print_row
from sth_core.checkpoint import Checkpoint, load_checkpoint
from sth_core.datasets.sprites import APPEARANCES, draw_background, draw_object
from sth_core.datasets.synthetic import FPS, HEIGHT, WIDTH, Pose, paint
from sth_core.video.clip_source import ClipSource
from sth_core.video.encoding import write_video
from sth_core.video.fields import read_clip
from sth_core.video.transforms import centre_crop, normalise, resize
from workbench.cli.kinds import FILE, SEED

NETWORK = Path(__file__).parent.parent / "workbench" / "networks" / "appearance-rgb-p4.safetensors"
Shares = list[float]
FRAMES = 2 * FPS
PLACE, MOMENT, BOTH = MEASURES = ("on the object", "while it is visible", "both")


@dataclass(frozen=True)
class Planted:
    """What a clip shows, where and when; `first` to `last` are the frames with the object."""

    appearance: str
    pose: Pose
    first: int
    last: int
    seed: int

    def frames(self, place: np.ndarray, thing: np.ndarray) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 each."""
        there = paint(place, thing, self.pose)
        empty = np.clip(place + 0.5, 0, 255).astype(np.uint8)
        for t in range(FRAMES):
            yield there if self.first <= t <= self.last else empty

    def mask(self, t: int) -> np.ndarray:
        """The pixels of the object in frame t: uint8 (H, W, 1), 0 or 255."""
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        inside = (x - self.pose.x) ** 2 + (y - self.pose.y) ** 2 <= self.pose.radius**2
        return (255 * (inside & (self.first <= t <= self.last))).astype(np.uint8)[..., None]


def plant(number: int, seed: int) -> Planted:
    """An object anywhere in the central square, for a quarter to a half of the clip."""
    random = np.random.default_rng([seed, number])
    radius, side = random.uniform(46, 62), HEIGHT / 2
    x, y = (middle + random.uniform(-1, 1) * (side - radius) for middle in (WIDTH / 2, HEIGHT / 2))
    length = int(random.integers(FRAMES // 4, FRAMES // 2 + 1))
    first = int(random.integers(0, FRAMES - length + 1))
    appearance = list(APPEARANCES)[number % len(APPEARANCES)]
    return Planted(appearance, Pose(x, y, radius, random.uniform(-np.pi, np.pi)), first, first + length - 1, number)


def shares_inside(maps: torch.Tensor, masks: np.ndarray) -> dict[str, float]:
    """The share of maps (T, h, w), not negative, that lies inside masks (T, H, W): on the pixels that the object has at
    any time, in the frames that show it, and in both."""
    where = torch.from_numpy(masks)
    spread = upsample_maps(maps, (where.shape[1], where.shape[2])).double()
    total = spread.sum().clamp(min=1e-12)
    place, moment = where.any(0)[None], where.flatten(1).any(1)[:, None, None]
    return {name: float((spread * m).sum() / total) for name, m in zip(MEASURES, (place, moment, where), strict=True)}


def measure(checkpoint: Checkpoint, folder: Path, clips: int, seed: int) -> tuple[dict[tuple[str, str], Shares], int]:
    """{(explanation, measure): share of each clip} of the clips that are classified correctly, and their number."""
    p, correct = checkpoint.preprocessing, 0
    wanted = explanations(checkpoint.model, p.crop)
    found: dict[tuple[str, str], Shares] = {}
    for number in range(clips):
        planted = plant(number, seed)
        random = np.random.default_rng([seed, number, 1])
        place, thing = draw_background(HEIGHT, WIDTH, random), draw_object(planted.appearance, random)
        path = folder / f"{number}.mp4"
        write_video(path, planted.frames(place, thing), FPS)
        pixels, indices = read_clip(ClipSource(path), p)
        clip = normalise(torch.from_numpy(np.ascontiguousarray(centre_crop(pixels, p))), p)
        target = checkpoint.classes.index(planted.appearance)
        with torch.inference_mode():
            if int(checkpoint.model(clip[None]).argmax()) != target:
                continue
        correct += 1
        masks = resize(np.stack([planted.mask(int(t)) for t in indices]), p.resize, p.interpolation)
        masks = centre_crop(masks, p)[..., 0] > 127
        maps = {name: m.clamp(min=0) for name, m in maps_of(checkpoint.model, clip, target, wanted).items()}
        T, h, w = next(iter(maps.values())).shape
        maps |= {"random map": random_map(T, h, w, number), "centre prior": centre_prior(T, h, w)}
        for name, of_clip in maps.items():
            for what, share in shares_inside(of_clip, masks).items():
                found.setdefault((name, what), []).append(share)
        print(f"clip {number + 1}/{clips}", file=sys.stderr)
    return found, correct


@click.command(help=__doc__)
@click.option("--network", type=FILE, default=NETWORK, help="By default one of the demo's.")
@click.option("--clips", default=96, show_default=True, type=click.IntRange(2))
@click.option("--seed", default=0, show_default=True, type=SEED)
def main(network: Path, clips: int, seed: int) -> None:
    checkpoint = load_checkpoint(network)
    with TemporaryDirectory() as folder:
        found, correct = measure(checkpoint, Path(folder), clips, seed)
    print(f"\n{network.stem}: {correct} of {clips} clips classified correctly; {machine('cpu')}; (95 % over clips)\n")
    print_head("map", "measure", "share of the CAM, %", "minus a random map's", "minus the centre prior's")
    for (name, what), values in found.items():
        cells = [f"{100 * np.mean(values):.1f}"]
        for control in ("random map", "centre prior"):
            e = mean_effect(100 * (np.array([values]) - np.array([found[control, what]])), np.arange(len(values)))
            cells.append("" if name == control else f"{e.value:+.1f} ({describe_interval(e.low, e.high, '+.1f')})")
        print_row(name, what, *cells)
