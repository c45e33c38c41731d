"""A synthetic set of clips with two labels each: a motion and an appearance.

Both labels are drawn independently, so that a network trained on the motion and one trained on
the appearance see identical pixels: the contrast of Fig. 7 without a difference in the data.

No single frame distinguishes a motion from its reverse. A clip follows a level u(t) = (phase + v t) mod 1
with v > 0 for the first motion of a pair and v < 0 for the second. The phase is uniform, hence
u(t) is uniform at every t for both: each single frame has the same distribution under either label. Only the
frame order distinguishes them; a clip played backward is a clip of the other label.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from sth_core.datasets.sprites import APPEARANCES, SPRITE, draw_background, draw_object
from sth_core.files import read_csv, write_csv
from sth_core.outputs import writing_into
from sth_core.prefetch import in_processes
from sth_core.resumable import no_report
from sth_core.video.encoding import write_video

WIDTH, HEIGHT, FPS = 320, 240, 24
LENGTHS = (2 * FPS, 3 * FPS + 1)  # frames: 2 to 3 seconds
MOTION_PAIRS = (
    ("moving right", "moving left"),
    ("moving down", "moving up"),
    ("coming towards", "going away"),
    ("turning clockwise", "turning counterclockwise"),
    ("appearing", "vanishing"),
    ("opening", "closing"),
)
MOTIONS = tuple(motion for pair in MOTION_PAIRS for motion in pair)
MANIFEST_COLUMNS = ["path", "motion", "appearance", "split", "frames", "seed"]


@dataclass(frozen=True)
class Scene:
    """One clip before it is drawn; on one machine equal scenes make equal files, byte for byte."""

    motion: str
    appearance: str
    seed: tuple[int, int]  # the set's seed, the clip's number


@dataclass(frozen=True)
class Pose:
    """The object in one frame: pixels, radians, and shares of 1."""

    x: float
    y: float
    radius: float
    angle: float
    opacity: float = 1.0
    gap: float = 0.0  # between its halves, in radii


def level(phase: float, speed: float, t: float) -> float:
    """u(t), with t from 0 at the clip's start to 1 at its end."""
    return (phase + speed * t) % 1.0


def pose_at(motion: str, u: float, start: Pose) -> Pose:
    """The pose at level u. Both motions of a pair share the map; only u's direction differs."""
    pair = next(i for i, names in enumerate(MOTION_PAIRS) if motion in names)
    r = start.radius
    changes = (
        {"x": -r + u * (WIDTH + 2 * r)},  # in at one edge, out at the other
        {"y": -r + u * (HEIGHT + 2 * r)},
        {"radius": r * 0.4 * 4**u, "opacity": min(1.0, 12 * min(u, 1 - u))},  # hides the return from near to far
        {"angle": start.angle + 2 * math.pi * u},
        {"opacity": u},
        {"gap": 1.4 * u},
    )
    return replace(start, **changes[pair])


def paint(background: np.ndarray, sprite: np.ndarray, pose: Pose) -> np.ndarray:
    """The frame (H, W, 3) uint8: the background with the object in its pose."""
    frame = background.copy()
    left, right = sprite.copy(), sprite.copy()
    left[:, SPRITE // 2 :, 3] = 0
    right[:, : SPRITE // 2, 3] = 0
    cos, sin = math.cos(pose.angle), math.sin(pose.angle)
    halves = [(sprite, 0.0)] if pose.gap == 0 else [(left, -pose.gap / 2), (right, pose.gap / 2)]
    for half, shift in halves:
        cx, cy = pose.x + shift * pose.radius * cos, pose.y + shift * pose.radius * sin
        reach = pose.radius * 1.45  # a half diagonal, and a margin: only this window changes
        x0, x1 = np.clip([int(cx - reach), math.ceil(cx + reach)], 0, WIDTH)
        y0, y1 = np.clip([int(cy - reach), math.ceil(cy + reach)], 0, HEIGHT)
        if x0 == x1 or y0 == y1:
            continue
        a, b = pose.radius / (SPRITE / 2 - 2) * cos, pose.radius / (SPRITE / 2 - 2) * sin
        c = SPRITE / 2 - 0.5
        matrix = np.array([[a, -b, cx - x0 - a * c + b * c], [b, a, cy - y0 - b * c - a * c]])
        drawn = cv2.warpAffine(half, matrix, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
        window = frame[y0:y1, x0:x1]
        blend = window + drawn[..., 3:] * pose.opacity * (drawn[..., :3] - window)
        frame[y0:y1, x0:x1] = np.clip(blend + 0.5, 0, 255)
    return frame


def length_of(scene: Scene) -> int:
    """The clip's number of frames: the first number of its generator."""
    return int(np.random.default_rng(scene.seed).integers(*LENGTHS))


def render(scene: Scene) -> Iterator[np.ndarray]:
    """The clip's frames (H, W, 3) uint8, 2 to 3 seconds of them."""
    rng = np.random.default_rng(scene.seed)
    frames = int(rng.integers(*LENGTHS))
    x, y = rng.uniform(0.35, 0.65) * WIDTH, rng.uniform(0.35, 0.65) * HEIGHT
    start = Pose(x, y, radius=rng.uniform(46, 62), angle=rng.uniform(-math.pi, math.pi))
    phase, speed = rng.uniform(), rng.uniform(0.55, 0.95)
    if scene.motion in [pair[1] for pair in MOTION_PAIRS]:
        speed = -speed
    background, sprite = draw_background(HEIGHT, WIDTH, rng), draw_object(scene.appearance, rng)
    for t in range(frames):
        yield paint(background, sprite, pose_at(scene.motion, level(phase, speed, t / frames), start))


def draw_scenes(clips: int, seed: int) -> list[Scene]:
    """Balanced labels; motion and appearance are drawn independently of each other."""
    rng = np.random.default_rng([seed, 2020])
    motions, appearances = (rng.permutation(np.resize(list(names), clips)) for names in (MOTIONS, APPEARANCES))
    return [Scene(str(m), str(a), (seed, i)) for i, (m, a) in enumerate(zip(motions, appearances, strict=True))]


def write_clip(scene: Scene, path: Path) -> None:
    cv2.setNumThreads(1)  # clips are made in parallel, not the pixels of one
    write_video(path, render(scene), FPS)


def synthesize(
    folder: Path,
    clips: int,
    seed: int,
    split: str = "val",
    workers: int | None = None,
    progress: Callable[[int, int], None] = no_report,
) -> Path:
    """Write `clips` H.264 files and add them to `folder`/manifest.csv; returns the manifest's path.

    Existing clips are kept, so that an interrupted call continues where it stopped.
    """
    paths = [folder / split / f"{seed:04d}_{i:05d}.mp4" for i in range(clips)]
    scenes = dict(zip(paths, draw_scenes(clips, seed), strict=True))
    with writing_into(folder, split):
        write_missing(scenes, workers, progress)
        return add_to_manifest(folder, scenes, split, seed)


def write_missing(scenes: dict[Path, Scene], workers: int | None, progress: Callable[[int, int], None]) -> None:
    """Write the clips that are not there."""
    clips = len(scenes)
    waiting = {path: (scene, path) for path, scene in scenes.items() if not path.exists()}
    before = clips - len(waiting)
    progress(before, clips)
    for done, _ in enumerate(in_processes(write_clip, waiting, workers), start=before + 1):
        progress(done, clips)


def add_to_manifest(folder: Path, scenes: dict[Path, Scene], split: str, seed: int) -> Path:
    """Write the split's clips into `folder`/manifest.csv beside those of other splits; returns its path."""
    rows = [
        (path.relative_to(folder).as_posix(), scene.motion, scene.appearance, split, length_of(scene), seed)
        for path, scene in scenes.items()
    ]
    table, manifest = pd.DataFrame(rows, columns=MANIFEST_COLUMNS), folder / "manifest.csv"
    if manifest.exists():
        earlier = read_csv(manifest)
        table = pd.concat([earlier[earlier["split"] != split], table])
    write_csv(manifest, table)
    return manifest
