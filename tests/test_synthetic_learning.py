"""Networks learn the appearance from single frames of the synthetic set, and the frame order only from several."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sth_core import VideoNetwork, create_model
from sth_core.datasets import synthetic
from sth_core.datasets.sprites import APPEARANCES
from sth_core.datasets.synthetic import MOTIONS, draw_scenes, render
from tests.tiny import one_torch_thread

FRAMES, SIDE = 8, 48
BATCH, RATE = 32, 0.1


@dataclass(frozen=True)
class Clips:
    """Small clips (N, T, C, H, W) and their two labels (N,); motions 2i and 2i + 1 are a pair."""

    pixels: Tensor
    motion: Tensor
    appearance: Tensor


@pytest.fixture(scope="module")
def clips() -> Iterator[tuple[Clips, Clips]]:
    """720 clips to train on and 240 held out, on one thread: the same numbers in every run."""
    with one_torch_thread(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "LENGTHS", (FRAMES, FRAMES + 1))  # draw only the frames that are used
        yield small_clips(720, seed=10), small_clips(240, seed=11)


def small_clips(count: int, seed: int) -> Clips:
    scenes = draw_scenes(count, seed)
    size, how = (SIDE, SIDE), cv2.INTER_AREA
    frames = np.stack(
        [cv2.resize(frame[10:230, 50:270], size, interpolation=how) for s in scenes for frame in render(s)]
    )
    pixels = torch.from_numpy(frames).unflatten(0, (count, FRAMES)).movedim(-1, 2).float() / 127.5 - 1
    things = list(APPEARANCES)
    return Clips(
        pixels,
        torch.tensor([MOTIONS.index(scene.motion) for scene in scenes]),
        torch.tensor([things.index(scene.appearance) for scene in scenes]),
    )


def train_on_both_labels(conv: str, frames: int, epochs: int, clips: Clips) -> VideoNetwork:
    """A network trained on `frames` neighbouring frames at a time; its logits are 12 motions, 12 things."""
    torch.manual_seed(1)
    model = create_model("resnet18", 24, frames=frames, conv=conv, attention=False, width=8, dropout=0.0)
    model = model.to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.SGD(model.parameters(), RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = epochs * (len(clips.pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
    rng = np.random.default_rng(1)
    for step in range(steps):
        if step % (steps // epochs) == 0:
            order = torch.from_numpy(rng.permutation(len(clips.pixels)))
        rows, order = order[:BATCH], order[BATCH:]
        first = int(rng.integers(FRAMES - frames + 1))
        shift = tuple(rng.integers(-4, 5, 2).tolist())
        logits = model(clips.pixels[rows, first : first + frames].roll(shift, (3, 4)))
        loss = F.cross_entropy(logits[:, :12], clips.motion[rows])
        loss += F.cross_entropy(logits[:, 12:], clips.appearance[rows])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    return model.eval()


@dataclass(frozen=True)
class Score:
    """Accuracy; of `order`: which of the true pair's two motions has the larger logit."""

    pair: float
    order: float
    appearance: float


@torch.inference_mode()
def score(model: VideoNetwork, clips: Clips) -> Score:
    frames = model.config.frames
    parts = clips.pixels.unflatten(1, (-1, frames)).flatten(0, 1)  # all eight frames, `frames` at a time
    logits = torch.cat([model(part) for part in parts.split(160)]).unflatten(0, (-1, FRAMES // frames)).mean(1)
    pair = clips.motion // 2
    within = logits[:, :12].unflatten(1, (6, 2))[torch.arange(len(pair)), pair]  # N 2
    return Score(
        pair=(logits[:, :12].argmax(1) // 2 == pair).float().mean().item(),
        order=(within.argmax(1) == clips.motion % 2).float().mean().item(),
        appearance=(logits[:, 12:].argmax(1) == clips.appearance).float().mean().item(),
    )


@pytest.mark.long
def test_one_frame_shows_the_appearance_but_not_the_order_of_a_motion(clips: tuple[Clips, Clips]) -> None:
    """A 2D network predicts the pair of motions (chance 1/6) and the appearance (chance 1/12), the order at chance.

    No clip is played backward in training: if single frames showed the order, this network could learn it.
    """
    to_learn, held_out = clips
    result = score(train_on_both_labels("2d", frames=1, epochs=28, clips=to_learn), held_out)
    assert result.pair > 0.4, result
    assert result.appearance > 0.3, result
    assert 0.38 < result.order < 0.62, result  # chance, over 240 clips: 3.7 standard deviations


@pytest.mark.long
def test_an_sth_network_learns_the_order_from_two_frames(clips: tuple[Clips, Clips]) -> None:
    to_learn, held_out = clips
    result = score(train_on_both_labels("sth", frames=2, epochs=13, clips=to_learn), held_out)
    assert result.pair > 0.4, result
    assert result.order > 0.7, result
