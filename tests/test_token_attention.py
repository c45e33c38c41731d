"""Attention across time of transformers: its numbers by explicit loops, and how a run, a page and a figure hold it."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from analysis.attention.alpha_matrix import has_attention, read_alpha, read_signal
from analysis.attention.share_tables import share_table, why_not_subtracted
from analysis.explain.token_rollout import attention_rollout, gradient_weighted_attention
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.left_out import why_no_attention
from analysis.runs.recording import record
from analysis.runs.run_directory import Run, open_run
from sth_core.adapted import AdaptedNetwork, adapt, frames_first
from sth_core.adapters.hugging_face import adapt_transformer
from sth_core.checkpoint import Checkpoint
from sth_core.convolution import Tap
from sth_core.errors import UserError
from sth_core.grids import Tokens
from sth_core.shards import read_shard, shards
from sth_core.token_attention import AttentionModule, TokenAttention, steps_of, time_shares, uniform_share
from sth_core.video.clip_source import ClipSource
from sth_core.video.fields import read_clip
from sth_core.video.transforms import crop, normalise
from tests.test_adapted import (
    HUGGING_FACE,
    NAMES,
    SMALL,
    Volume,
    clip_of_32,
    clips_for,
    has_hooks,
    network_in,
    transformers,
)
from tests.test_app import CLIP, COMPARE, FIGURES, PREDICTIONS, open_page, words
from tests.tiny import write_two_of_each
from workbench.cli import main

ATTENTION = "workbench/pages/attention.py"  # the first page


def transformer(kind: str, implementation: str = "eager", **options: Any) -> Checkpoint:
    """A small classifier with random weights, far from uniform attention."""
    torch.manual_seed(0)
    prefix, more = HUGGING_FACE[kind]
    config = getattr(transformers, f"{prefix}Config")(num_labels=3, **(SMALL | more | options))
    config.id2label = dict(enumerate(NAMES))
    config._attn_implementation = implementation
    module = getattr(transformers, f"{prefix}ForVideoClassification")(config)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if "query" in name or "key" in name or "qkv" in name or "q_proj" in name or "k_proj" in name:
                weight.mul_(20)
    return adapt_transformer(module, preprocessing=clip_of_32())


def random_weights(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3)).mul(2).softmax(-1)


class Kept(Tap):
    """Keeps all weights."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, str, Tensor]] = []

    def weights(self, layer: str, kind: str, weights: Tensor) -> None:
        self.kept.append((layer, kind, weights))


def share_by_loops(weights: np.ndarray, steps: list[int], count: int) -> tuple[float, float]:
    """Of one head (n, n): the share across time, and the mean weight on extra tokens."""
    across = every = extra = 0.0
    for q, k in product(range(len(steps)), repeat=2):
        if steps[q] == count:
            continue
        if steps[k] == count:
            extra += weights[q, k]
            continue
        every += weights[q, k]
        across += weights[q, k] * (steps[q] != steps[k])
    return across / every, extra / sum(step < count for step in steps)


@pytest.mark.parametrize(
    ("tokens", "steps"),
    [
        (Tokens(2, 1, 2), [0, 0, 1, 1]),
        (Tokens(2, 1, 2, extra=1), [2, 0, 0, 1, 1]),
        (Tokens(3, 2, 1, extra=2, time_last=True), [3, 3, 0, 1, 2, 0, 1, 2]),
    ],
)
def test_a_share_is_the_sum_over_pairs_of_tokens(tokens: Tokens, steps: list[int]) -> None:
    assert steps_of(tokens).tolist() == steps
    weights = random_weights(2, 3, len(steps), len(steps))
    found = time_shares(weights, torch.tensor(steps), tokens.steps)
    for clip, head in product(range(2), range(3)):
        expected = share_by_loops(weights[clip, head].double().numpy(), steps, tokens.steps)
        np.testing.assert_allclose(found[clip, :, head], expected, atol=1e-6)


def test_shares_that_are_known() -> None:
    steps = torch.tensor([2, 0, 0, 1, 1])  # a class token, two places, two time steps
    own = torch.eye(5)
    other = own[[0, 3, 4, 1, 2]]  # each place looks at itself in the other time step
    uniform = torch.full((5, 5), 0.2)
    half = (own + other) / 2
    to_class = torch.zeros(5, 5)
    to_class[:, 0] = 1.0
    found = time_shares(torch.stack([own, other, uniform, half, to_class])[None], steps, 2)[0]
    torch.testing.assert_close(found, torch.tensor([[0, 1, 0.5, 0.5, 0], [0, 0, 0.2, 0, 1]]))
    assert uniform_share(2) == 0.5 and uniform_share(8) == 7 / 8
    for T in (2, 3, 8):
        even = torch.full((1, 1, 6 * T, 6 * T), 1 / (6 * T))
        share = time_shares(even, steps_of(Tokens(T, 2, 3)), T)[0, 0, 0]
        torch.testing.assert_close(share, torch.tensor((T - 1) / T))


@pytest.mark.parametrize("kind", HUGGING_FACE)
@torch.inference_mode()
def test_the_shares_of_a_transformer_are_those_of_the_weights_that_it_returns(kind: str) -> None:
    """For TimeSformer the temporal attention's, by hand: 1 minus the mean of the diagonal."""
    c = transformer(kind)
    model, clips = network_in(c), clips_for(c)
    own = model.call(model.module, clips)
    logits, shares = model.forward_with_shares(clips)
    kept = Kept()
    assert torch.equal(logits, own.logits) and torch.equal(model(clips, kept), own.logits)
    assert not has_hooks(model) and list(shares) == [layer.name for layer in model.token_layers]
    assert all(share.shape == (2, 2, 3) for share in shares.values())
    grid = next(iter(model.grids.values()))
    assert isinstance(grid, Tokens)
    if kind == "timesformer":
        temporal = [weights for _, of, weights in kept.kept if of == "time"]
        for (name, found), a in zip(shares.items(), temporal, strict=True):
            assert name.endswith(tuple("012")) and a.shape == (2 * 16, 3, 4, 4)
            expected = 1 - torch.diagonal(a.unflatten(0, (2, 16)), dim1=-2, dim2=-1).mean((1, 3))
            torch.testing.assert_close(found[:, 0], expected, atol=1e-6, rtol=1e-5)
            assert not found[:, 1].any()
        return
    returned = model.module(**{"output_attentions": True, model_input(kind): clips}).attentions
    steps = [int(step) for step in steps_of(grid)]
    for name, weights in zip(shares, returned, strict=False):
        for clip, head in product(range(2), range(3)):
            expected = share_by_loops(weights[clip, head].double().numpy(), steps, grid.steps)
            np.testing.assert_allclose(shares[name][clip, :, head], expected, atol=1e-5)


def model_input(kind: str) -> str:
    return "pixel_values_videos" if kind == "vjepa2" else "pixel_values"


def test_timesformers_other_kinds_of_attention() -> None:
    joint = transformer("timesformer", attention_type="joint_space_time").model
    assert {layer.stage for layer in joint.token_layers} == {"joint attention"}
    _, shares = joint.forward_with_shares(torch.randn(1, 4, 3, 32, 32))
    assert all(0 < float(share[0, 0].mean().detach()) < 1 for share in shares.values())


def test_weights_that_a_kernel_hides_are_said(tmp_path: Path, clips_on_disk: Path) -> None:
    c = transformer("videomae", "sdpa")
    assert isinstance(c.model, AdaptedNetwork) and not c.model.token_layers
    assert "sdpa" in c.model.hidden_weights and 'attn_implementation="eager"' in c.model.hidden_weights
    said: list[str] = []
    record(c, clips_on_disk, tmp_path / "run", DatasetOptions(notify=said.append))
    assert any("no attention is recorded: the attention weights of VideoMAE" in line for line in said)
    assert open_run(tmp_path / "run").meta["attention"] is False


def test_attention_that_is_said_wrongly_is_refused() -> None:
    module = network_in(transformer("videomae")).module
    place = "videomae.encoder.layer.0"
    options: Any = {"classes": NAMES, "preprocessing": clip_of_32(), "call": frames_first}
    layers = {place: Tokens(2, 4, 4)}
    for path, tokens, message in (
        (
            f"{place}.attention.attention",
            Tokens(2, 2, 2),
            r"gives \(2, 3, 32, 32\), not weights \(2, heads, queries, 8\)",
        ),
        (f"{place}.attention.output", Tokens(2, 4, 4), "not weights|are hidden"),
        (f"{place}.atention", Tokens(2, 4, 4), "has no module"),
    ):
        attention = TokenAttention(tokens, (AttentionModule(place, path, "joint"),))
        with pytest.raises(UserError, match=message):
            adapt(module, layers=layers, attention=attention, **options)


# In a run, and in what shows it.


@pytest.fixture(scope="module")
def clips_on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of each of three classes."""
    return write_two_of_each(tmp_path_factory.mktemp("videos"), NAMES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, clips_on_disk: Path) -> Path:
    """Runs of a joint and of a divided transformer."""
    folder = tmp_path_factory.mktemp("runs")
    for kind in ("videomae", "timesformer"):
        record(transformer(kind), clips_on_disk, folder / kind, vectors=kind == "videomae")
    record(transformer("videomae", num_attention_heads=2), clips_on_disk, folder / "other")
    return folder


def test_a_run_holds_the_shares_that_the_network_gives(runs: Path) -> None:
    run, c = open_run(runs / "videomae"), transformer("videomae")
    meta = json.loads((run.path / "run.json").read_text())
    assert (meta["attention"], meta["signal"], meta["uniform_share"]) == (True, "time_share", 0.5)
    assert [layer["stage"] for layer in meta["layers"]] == ["joint attention"] * 3
    rows = read_shard(shards(run.path, "attention")[0]).to_pandas()
    assert "alpha_temporal" not in rows and len(rows) == 6 * 3
    found = read_signal(run)
    for i, clip_id in enumerate(found.clips["clip_id"]):
        pixels = crop(read_clip(ClipSource(Path(found.clips["path"][i])), c.preprocessing)[0], c.preprocessing.crop)
        with torch.inference_mode():
            _, shares = c.model.forward_with_shares(normalise(torch.from_numpy(pixels.copy()), c.preprocessing)[None])
        of_clip = rows[rows["clip_id"] == clip_id].sort_values("layer_index")
        direct = torch.stack([share[0].mean(1) for share in shares.values()])
        np.testing.assert_allclose(of_clip[["time_share", "extra_share"]].to_numpy(), direct, atol=1e-6)
        np.testing.assert_allclose(found.temporal[i], direct[:, 0], atol=1e-6)
        heads = np.stack(of_clip["time_share_heads"].to_numpy())
        np.testing.assert_allclose(heads, torch.stack([share[0, 0] for share in shares.values()]), atol=1e-3)


def test_shares_are_never_taken_for_alpha(runs: Path) -> None:
    joint, divided, other = (open_run(runs / name) for name in ("videomae", "timesformer", "other"))
    assert not has_attention(joint)
    assert "not α" in why_no_attention(joint)
    with pytest.raises(UserError, match="holds no α: its network is a transformer"):
        read_alpha(joint)
    alpha = Run(joint.path, joint.meta | {"signal": "alpha"})
    assert "α_T, B has attention across time" in why_not_subtracted(alpha, joint)
    assert "A has joint attention, B has temporal attention" in why_not_subtracted(joint, divided)
    assert why_not_subtracted(joint, other) == ""
    table = share_table({"a": joint, "b": divided})
    assert list(table["block"]) == [1, 2, 3] * 2 and set(table["uniform_share"]) == {0.5, 0.75}
    np.testing.assert_allclose(table["time_share"][:3], read_signal(joint).temporal.mean(0), atol=1e-6)


def test_the_same_command_resumes_and_another_kind_is_refused(runs: Path, clips_on_disk: Path, tmp_path: Path) -> None:
    c, run = transformer("timesformer"), tmp_path / "run"
    record(c, clips_on_disk, run)
    [part] = shards(run, "attention")
    table = read_shard(part).to_pandas()
    table.loc[0, "time_share"] = 7.0
    table.to_parquet(part)
    said: list[str] = []
    record(c, clips_on_disk, run, DatasetOptions(notify=said.append))
    assert any("a time_share is not a number from 0 to 1" in line for line in said)
    assert read_signal(open_run(run)).temporal.max() <= 1
    with pytest.raises(UserError, match="attention"):
        record(c, clips_on_disk, run, with_attention=False)


def test_pages_and_figures_show_it_under_its_own_name(runs: Path, tmp_path: Path, monkeypatch: Any) -> None:
    definition = "is the share of a transformer's attention"
    for page, parameters in (
        (ATTENTION, {}),
        (ATTENTION, {"show": "By class", "of": "videomae"}),
        (ATTENTION, {"show": "Correct and misclassified", "of": "timesformer"}),
        (ATTENTION, {"show": "Unusual clips", "of": "videomae"}),
        (CLIP, {"run": "videomae", "similar": "true"}),
        (COMPARE, {"a": "videomae", "b": "timesformer"}),
        (COMPARE, {"a": "videomae", "b": "other"}),
        (COMPARE, {"a": "videomae", "b": "other", "more": "timesformer"}),
        (FIGURES, {}),
        (PREDICTIONS, {"run": "videomae", "view": "All clips"}),
    ):
        app = open_page(runs, monkeypatch, page, **parameters)
        assert not app.exception, (page, parameters)
        text = words(app)
        if page != PREDICTIONS:
            assert definition in text or "no clip stands out" in text.lower(), (page, parameters)
        assert "α_T of" not in text
    text = words(open_page(runs, monkeypatch, ATTENTION, show="Hypotheses"))
    assert "none of the chosen runs has it" in text
    result = CliRunner().invoke(main, ["figures", str(runs), "-o", str(tmp_path / "figures")], catch_exceptions=False)
    assert result.exit_code == 0 and "attention_across_time.html" in result.output


# Rollout, by explicit products of matrices over all tokens.


def whole_matrix(kind: str, a: Tensor, tokens: Tokens, extra_row: float) -> Tensor:
    """The matrix (n, n) over all tokens of one module's weights (groups, q, k), by loops over its tokens."""
    T, P, E = tokens.steps, tokens.height * tokens.width, tokens.extra
    if kind == "joint":
        return a[0]

    def at(step: int, place: int) -> int:
        return E + (place * T + step if tokens.time_last else step * P + place)

    whole = torch.zeros(E + T * P, E + T * P, dtype=a.dtype)
    if kind == "time":
        whole[:E, :E] = torch.eye(E) * extra_row
        for place, q, k in product(range(P), range(T), range(T)):
            whole[at(q, place), at(k, place)] = a[place, q, k]
        return whole
    for step, q, k in product(range(T), range(E + P), range(E + P)):
        row, column = (q if q < E else at(step, q - E)), (k if k < E else at(step, k - E))
        whole[row, column] += a[step, q, k] / (T if q < E else 1)
    return whole


def map_by_matrices(c: Checkpoint, combined: list[tuple[str, Tensor]], gradient: bool) -> np.ndarray:
    model = network_in(c)
    assert model.attention is not None
    t, read = model.attention.tokens, dict(combined).get("read")
    n = t.extra + t.steps * t.height * t.width
    relevance, eye = torch.eye(n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    for kind, a in combined:
        if kind != "read":
            A = whole_matrix(kind, a.double(), t, 0.0 if gradient else 1.0)
            relevance = relevance + A @ relevance if gradient else (A + eye) / 2 @ relevance
    start = eye[0] if model.attention.first_token else torch.full((n,), 1 / n, dtype=torch.float64)
    start = start if read is None else read[0, 0].double()
    row = start @ relevance - (start if gradient and read is None else 0)
    places = row[t.extra :]
    steps = places.reshape(-1, t.steps).T if t.time_last else places.reshape(t.steps, -1)
    return steps.reshape(t.steps, t.height, t.width).repeat_interleave(model.frames // t.steps, 0).numpy()


@pytest.mark.parametrize("kind", HUGGING_FACE)
def test_rollout_is_the_product_of_the_blocks_matrices(kind: str) -> None:
    c = transformer(kind)
    model, clip, kept = network_in(c), clips_for(c)[0], Kept()
    logits = model(clip[None].requires_grad_(), kept)[0]
    expected = map_by_matrices(c, [(of, a.detach().mean(1)) for _, of, a in kept.kept], False)
    found = attention_rollout(model, clip)
    assert found.shape == (4, 4, 4) and found.min() >= 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    for target, against in ((1, None), (1, 2)):
        score = logits[target] - (logits[against] if against is not None else 0)
        weights = [a for *_, a in kept.kept]
        gradients = torch.autograd.grad(score, weights, retain_graph=True, allow_unused=True)
        positive = [
            (of, (a * (0 if g is None else g)).clamp(min=0).detach().mean(1))
            for (_, of, a), g in zip(kept.kept, gradients, strict=True)
        ]
        expected = map_by_matrices(c, positive, True)
        found = gradient_weighted_attention(model, clip, target, against)
        assert found.max() > 0 and len({step.tobytes() for step in found}) == model.frames // (4 // grid_of(c).steps)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6 * float(expected.max()))
    assert not has_hooks(model) and all(weight.grad is None for weight in model.parameters())


def grid_of(c: Checkpoint) -> Tokens:
    attention = network_in(c).attention
    assert attention is not None
    return attention.tokens


def test_a_network_without_weights_has_no_rollout() -> None:
    hidden, none = transformer("vivit", "sdpa").model, adapt(Volume(), classes=NAMES, preprocessing=clip_of_32()).model
    for network, message in ((hidden, 'attn_implementation="eager"'), (none, "no attention weights that are known")):
        for method in (attention_rollout, gradient_weighted_attention):
            with pytest.raises(UserError, match=message):
                method(network, torch.zeros(4, 3, 32, 32), 0)
