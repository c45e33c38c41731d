"""Parameters and multiply-adds against PyTorch's own counter, torchvision, hand and paper; and the two commands."""

import argparse
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sth_core import VideoNetwork, create_model, load_checkpoint
from sth_core.backbones import BACKBONES
from sth_core.complexity import PAPER_ROWS, LayerCost, compare_with_paper, layer_costs, pointwise, total
from sth_core.network import CONVS, ModelConfig, count_parameters
from sth_core.video.modality import CHANNELS
from tests.test_cli import ends_well, mistake
from workbench.demo import SHIPPED_NETWORKS

UT = Path(__file__).parent.parent / "recipes" / "ut_interaction.toml"


def tiny(backbone: str, conv: str, **changes: Any) -> VideoNetwork:
    return create_model(backbone, 5, **({"frames": 4, "conv": conv, "width": 8} | changes)).eval()


def counted_by_pytorch(model: VideoNetwork, side: int) -> int:
    """Of real tensors. PyTorch counts a multiply-add as two operations."""
    clip = torch.randn(1, model.config.frames, CHANNELS[model.config.modality], side, side)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(clip)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(
    ("backbone", "conv"),
    [(backbone, conv) for backbone in ("resnet18", "mobilenet_v2") for conv in CONVS] + [("vgg16", "3d")],
)
def test_multiply_adds_and_parameters_are_those_that_pytorch_counts(backbone: str, conv: str) -> None:
    model = tiny(backbone, conv)
    costs = layer_costs(model.config, 40)
    assert sum(c.parameters for c in costs) == count_parameters(model)
    assert len({c.name for c in costs}) == len(costs)
    multiply_adds, counted = sum(c.multiply_adds for c in costs), counted_by_pytorch(model, 40)
    if conv.startswith("sth"):  # computed with kernels that are zero in places; these are not counted
        assert multiply_adds < counted
    else:
        assert multiply_adds == counted


@pytest.mark.parametrize("changes", [{"modality": "flow"}, {"frames": 3}, {"dilations": (1, 2)}], ids=str)
def test_so_are_those_of_other_clips_and_dilations(changes: dict) -> None:
    model = tiny("resnet18", "2plus1d_parallel", **changes)
    assert sum(c.multiply_adds for c in layer_costs(model.config, 40)) == counted_by_pytorch(model, 40)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_2d_network_costs_what_torchvision_publishes(backbone: str) -> None:
    published = torchvision.models.get_model_weights("vgg16_bn" if backbone == "vgg16" else backbone)
    meta = published["IMAGENET1K_V1"].meta
    gflops, millions = total(layer_costs(ModelConfig(backbone, 1000, frames=1, conv="2d")))
    assert gflops == pytest.approx(meta["_ops"], abs=5.1e-4)
    biases = 2 * (64 + 128) + 3 * (256 + 512 + 512) if backbone == "vgg16" else 0  # ours has none before a batch norm
    assert round(millions * 1e6) == meta["num_params"] - biases


# ResNet-18 of width 8 on 32 x 32 pixels: the side of each stage's output, and its channels.
STAGES = {"layer1": (8, 8), "layer2": (4, 16), "layer3": (2, 32), "layer4": (1, 64)}


@pytest.mark.parametrize("p", [1 / 2, 1 / 4, 1 / 8])
@pytest.mark.parametrize("conv", ["sth", "sth_merge"])
def test_an_sth_convolution_costs_what_section_3_2_says(conv: str, p: float) -> None:
    costs = {c.name: c for c in layer_costs(tiny("resnet18", conv, temporal_fraction=p, attention=False).config, 32)}
    hybrids = [name for name, cost in costs.items() if cost.kind == "STHConv"]
    assert hybrids == [f"{stage}.{block}.conv{i}" for stage in STAGES for block in (0, 1) for i in (1, 2)]
    for name in hybrids:
        side, c_out = STAGES[name[:6]]
        c_in = c_out // 2 if name.endswith("0.conv1") and name[:6] != "layer1" else c_out
        kernels = c_out * (p * c_in * 3 + (1 - p) * c_in * 9)
        assert (costs[name].parameters, costs[name].multiply_adds) == (kernels, kernels * 4 * side * side), name
        assert costs[name].output == (c_out, side, side)


def test_a_depthwise_sth_convolution_has_3_weights_in_a_temporal_channel_and_9_in_a_spatial_one() -> None:
    costs = {c.name: c for c in layer_costs(tiny("mobilenet_v2", "sth", attention=False).config, 32)}
    first = costs["features.1.conv.0.0"]  # 8 channels of 16 x 16, two of them temporal, 4 frames
    assert (first.kind, first.output, first.parameters) == ("DepthwiseSTHConv", (8, 16, 16), 2 * 3 + 6 * 9)
    assert first.multiply_adds == (2 * 3 + 6 * 9) * 4 * 16 * 16
    strided = costs["features.2.conv.1.0"]  # 48 channels, 12 of them temporal; from 16 x 16 to 8 x 8
    assert strided.multiply_adds == (12 * 3 + 36 * 9) * 4 * 8 * 8


def test_attention_multiplies_two_matrices_once_a_clip() -> None:
    costs = {c.name: c for c in layer_costs(tiny("resnet18", "sth").config, 32)}
    squeeze, expand = (costs[f"layer3.1.conv2.integration.{part}"] for part in ("squeeze", "expand"))
    assert squeeze.multiply_adds == expand.multiply_adds == 64 * 8  # 2 x 32 means to 32/4 units, and back
    assert (squeeze.parameters, expand.parameters) == (64 * 8 + 8, 64 * 8 + 64)


def test_costs_come_in_the_order_of_use_and_grow_with_the_clip() -> None:
    costs = layer_costs(tiny("resnet18", "2d").config, 32)
    assert [c.name for c in costs[:4]] == ["conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1"]
    assert costs[-1] == LayerCost("fc", "Linear", (5,), 64 * 5 + 5, 4 * 64 * 5)
    twice = layer_costs(tiny("resnet18", "2d", frames=8).config, 32)
    assert [c.multiply_adds for c in twice] == [2 * c.multiply_adds for c in costs]
    assert [c.parameters for c in twice] == [c.parameters for c in costs]


def test_batch_norm_and_relu_cost_three_operations_a_number() -> None:
    costs = [LayerCost("a", "BatchNorm2d", (2, 3, 4), 4, 0), LayerCost("b", "Conv2d", (9, 9, 9), 9, 9)]
    assert pointwise(costs, frames=10) * 1e9 == pytest.approx(3 * 10 * 24)


# The paper


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, pd.DataFrame]:
    """What `sth complexity` prints, and the table that it writes."""
    file = tmp_path_factory.mktemp("complexity") / "paper.csv"
    said = ends_well("complexity", "--csv", file)
    assert f"table: {file}" in said
    return said, pd.read_csv(file, dtype=str)


@cache
def size_of(network: ModelConfig) -> tuple[float, float, float]:
    """(G multiply-adds, G with batch norm and ReLU, M parameters)."""
    costs = layer_costs(network)
    gflops, millions = total(costs)
    return gflops, gflops + pointwise(costs, network.frames), millions


def resnet50(conv: str = "sth", attention: bool = False, p: float = 1 / 4) -> ModelConfig:
    """Section 4's network."""
    return ModelConfig("resnet50", 174, conv=conv, temporal_fraction=p, attention=attention)


@pytest.mark.parametrize(
    ("network", "gflops", "with_norms", "millions"),
    [
        ({}, "30.23", "30.50", "21.98"),
        ({"attention": True}, "30.23", "30.50", "23.24"),
        ({"conv": "2plus1d_sequential"}, "37.63", "37.90", "27.64"),
        ({"conv": "2plus1d_parallel"}, "37.63", "37.90", "27.64"),
    ],
    ids=["hybrid", "with attention", "sequential", "parallel"],
)
def test_the_papers_networks_have_the_papers_size(network: dict, gflops: str, with_norms: str, millions: str) -> None:
    assert tuple(f"{number:.2f}" for number in size_of(resnet50(**network))) == (gflops, with_norms, millions)


def test_tables_6_to_8_are_met_to_three_in_a_hundred_at_most() -> None:
    rows = [row for row in PAPER_ROWS if row.table in "678"]
    assert [sum(row.table == table for row in rows) for table in "678"] == [4, 5, 2]
    sizes = {row.label: size_of(row.network) for row in rows if row.network}
    away = {row.label: sizes[row.label][0] / float(row.gflops) - 1 for row in rows}
    assert max(away, key=lambda label: abs(away[label])) == "p = 1/2"
    assert away["p = 1/2"] == pytest.approx(-0.0257, abs=5e-5)
    assert all(abs(sizes[row.label][2] / float(row.parameters) - 1) < 0.022 for row in rows)


def as_printed(value: float, printed: str) -> bool:
    digits = len(printed) - printed.index(".") - 1 if "." in printed else 0
    return round(value, digits) == float(printed)


def test_a_row_that_agrees_says_so_and_one_that_does_not_says_why(printed: tuple[str, pd.DataFrame]) -> None:
    seen = {"agrees": 0, "differs": 0, "not built": 0}
    for row, shown in zip(PAPER_ROWS, printed[1].itertuples(index=False), strict=True):
        assert (shown.table, shown.network) == (row.table, row.label)
        assert (shown.paper_gflops, shown.paper_parameters_m) == (row.gflops, row.parameters)
        if row.network is None:
            seen["not built"] += 1
            assert shown.gflops == shown.parameters_m == "-"
            assert shown.remark.startswith("not built: ")
            continue
        plain, with_norms, millions = size_of(row.network)
        assert (shown.gflops, shown.parameters_m) == (f"{plain:.2f}", f"{millions:.2f}")
        exact = as_printed(plain, row.gflops)
        if (exact or as_printed(with_norms, row.gflops)) and as_printed(millions, row.parameters):
            seen["agrees"] += 1
            assert shown.remark == "as printed" + ("" if exact else ", once batch norm and ReLU are counted"), row.label
        else:
            seen["differs"] += 1
            assert len(row.why) > 20, row.label
            assert shown.remark.endswith(row.why), row.label
            assert not shown.remark.startswith("as printed"), row.label
    assert seen == {"agrees": 8, "differs": 8, "not built": 3}


@pytest.mark.parametrize(
    ("label", "p", "conv"), [("p = 0", 0.0, "2d"), ("p = 1/8", 1 / 8, "sth"), ("p = 1/2", 1 / 2, "sth")]
)
def test_the_remarks_of_table_6_tell_the_true_differences(label: str, p: float, conv: str) -> None:
    row = next(row for row in PAPER_ROWS if row.label == label)
    _, gflops, millions = size_of(resnet50(conv, p=p))
    above = f"{float(row.gflops) - gflops:.1f} G and {float(row.parameters) - millions:.1f} M above"
    assert f"the paper is {above} its own formula" in row.why


def test_the_remark_of_16_frames_names_numbers_that_the_rows_have() -> None:
    table = compare_with_paper()
    dilated, long = (next(row for row in table if row["network"] == name) for name in ("Dilated", "STH, 16 frames"))
    twice = 2 * float(dilated["paper_gflops"])
    assert f"twice the {dilated['paper_gflops']} of Tables 7 and 8 is {twice:.1f}" in long["remark"]


# sth complexity


def test_complexity_prints_the_four_tables_and_their_remarks(printed: tuple[str, pd.DataFrame]) -> None:
    said, table = printed
    lines = said.splitlines()
    titles = [line.split(":")[0] for line in lines if line.startswith("Table ")]
    assert titles == ["Table 6", "Table 7", "Table 8", "Table 9"]
    notes = list(dict.fromkeys(table["remark"]))  # below the tables, with the numbers that the rows have
    below = " ".join(said[said.rindex("┘") + 1 :].split())
    assert all(f"{i} {note}" in below for i, note in enumerate(notes, 1))
    half = next(line for line in lines if "p = 1/2" in line)
    assert half.strip("│ ").split("│")[-1].strip() == str(notes.index(table["remark"][3]) + 1)


def test_complexity_of_a_recipe_names_its_layers_and_their_sum(tmp_path: Path) -> None:
    file = tmp_path / "layers.csv"
    said = ends_well("complexity", UT, "--set", "model.conv=tsm", "--classes", 6, "--csv", file)
    assert "layer1.0.conv1" in said and "SpatialConv" in said
    model = create_model("resnet18", 6, frames=8, conv="tsm", width=24).eval()
    table = pd.read_csv(file)
    assert table["parameters"].sum() == count_parameters(model)
    assert list(table["layer"])[-1] == "fc"
    gflops, millions = counted_by_pytorch(model, 112) / 1e9, count_parameters(model) / 1e6
    assert (
        f"{gflops:.2f} G multiply-adds, {millions:.2f} M parameters for a clip of 8 frames of 112 x 112 pixels\n"
        in said
    )
    assert table["multiply-adds"].sum() / 1e9 == pytest.approx(gflops)


def test_complexity_of_a_checkpoint_that_ships() -> None:
    path = SHIPPED_NETWORKS / "motion-rgb-p4.safetensors"
    checkpoint = load_checkpoint(path)
    said = ends_well("complexity", path)
    assert "STHConv" in said and "layer4.1.conv2" in said
    millions, side = count_parameters(checkpoint.model) / 1e6, checkpoint.preprocessing.crop
    assert f" {millions:.2f} M parameters for a clip of 8 frames of {side} x {side} pixels\n" in said


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("model.conv=tsn", f"{UT} [model]: unknown conv 'tsn' (did you mean 'tsm'?); possible: sth, "),
        ("model.backbone=resnet19", f"{UT} [model]: unknown backbone 'resnet19' (did you mean 'resnet18'?)"),
        ("model.temporal_fraction=0.3", f"{UT} [model]: temporal_fraction must be 1/n for a whole number n"),
        ("model.temporal_fraction=1/7", f"{UT} [model]: temporal_fraction 1/7 needs channels that 7 divides, got 24"),
        ("model.width=0", f"{UT} [model]: width must be a whole number from 1 to 1,024, got 0"),
        (
            "model.dilations=[]",
            f"{UT} [model]: dilations must be a list of 1 to 100 items, each a whole number from 1 to 64, got []",
        ),
        ("model.widht=8", f"{UT} [model]: unknown key 'widht' (did you mean 'width'?)"),
        ("model.width=wide", f"{UT} [model]: width must be a whole number from 1 to 1,024, got 'wide'"),
        (
            "preprocessing.crop=0",
            f"{UT} [preprocessing]",
        ),
    ],
)
def test_a_wrong_value_of_a_recipe_is_one_sentence(change: str, sentence: str) -> None:
    assert mistake("complexity", UT, "--set", change).startswith(f"sth: {sentence}")


def test_what_is_no_network_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_text("no weights")
    assert "is not a safetensors file" in mistake("complexity", tmp_path / "x.safetensors")
    assert "cannot read the recipe" in mistake("complexity", tmp_path / "x.toml")


def test_a_checkpoint_cannot_be_changed() -> None:
    said = mistake("complexity", SHIPPED_NETWORKS / "motion-rgb-p4.safetensors", "--set", "model.width=8")
    assert said == "sth: --set changes a recipe; a checkpoint's network cannot be changed\n"


# sth import

AT_FULL_WIDTH = ("--set", "model.width=64", "--set", "model.conv=2d")
CLASSES = ["waving", "schließen", "à gauche"]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """torchvision's, whose batch norms have seen something."""
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=3)
    with torch.inference_mode():
        network.train()(torch.randn(8, 3, 32, 32))
    return network.eval().requires_grad_(False)


@pytest.fixture
def weights(network: nn.Module, tmp_path: Path) -> Path:
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("\n".join([*CLASSES[:2], "", f"  {CLASSES[2]} "]), encoding="utf-8-sig")
    return tmp_path / "classes.txt"


def test_an_imported_network_gives_the_logits_of_the_one_it_came_from(
    network: nn.Module, weights: Path, classes: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new folder" / "x.safetensors"
    said = ends_well("import", weights, UT, "--classes", classes, "-o", out, *AT_FULL_WIDTH)
    assert said == f"{len(network.state_dict())} tensors taken, 0 left at random; network: {out}\n"

    checkpoint = load_checkpoint(out)
    assert checkpoint.classes == CLASSES
    assert (checkpoint.preprocessing.frames, checkpoint.preprocessing.crop) == (8, 112)
    assert checkpoint.annotation.group == "sequence"
    assert checkpoint.training == {"imported": "weights.pth"}
    clip = torch.randn(1, 8, 3, 64, 64)
    logits = checkpoint.model(clip)[0].detach()
    torch.testing.assert_close(logits, network(clip[0]).mean(0), atol=1e-4 * float(logits.abs().max()), rtol=0)


def test_import_takes_the_moving_average_if_asked_to(
    network: nn.Module, weights: Path, classes: Path, tmp_path: Path
) -> None:
    average = {f"module.{name}": tensor + 1 for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": network.state_dict(), "state_dict_ema": average}, weights)
    words = ("import", weights, UT, "--classes", classes, "-o", tmp_path / "x.safetensors", *AT_FULL_WIDTH)
    for flag, taken, facts in (((), network.fc.bias, {}), (("--ema",), network.fc.bias + 1, {"ema": True})):
        said = ends_well(*words, *flag)
        assert said.startswith(f"{weights} holds weights and their moving average (EMA): the ")
        imported = load_checkpoint(tmp_path / "x.safetensors")
        assert torch.equal(imported.model.fc.bias, taken)
        assert imported.training == {"imported": "weights.pth"} | facts


def test_import_says_how_much_of_an_sth_network_is_random(weights: Path, classes: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    said = ends_well("import", weights, UT, "--classes", classes, "-o", out, "--set", "model.width=64")
    assert f" tensors taken, {16 * 5} left at random" in said  # temporal kernels, two matrices and their biases


@pytest.mark.parametrize("text", ["a\nb\na\n", "a\n a \nb", "", "\n \n"], ids=["twice", "spaces", "empty", "blank"])
def test_a_file_of_classes_must_name_each_once(text: str, weights: Path, classes: Path, tmp_path: Path) -> None:
    classes.write_text(text)
    said = mistake("import", weights, UT, "--classes", classes, "-o", tmp_path / "x.safetensors", *AT_FULL_WIDTH)
    assert said.startswith(f"sth: {classes} must name each class once, one a line; it has ")
    assert not (tmp_path / "x.safetensors").exists()


def test_a_file_of_classes_in_another_encoding_is_one_sentence(weights: Path, classes: Path, tmp_path: Path) -> None:
    classes.write_text("\n".join(CLASSES), encoding="latin-1")
    assert str(classes) in mistake("import", weights, UT, "--classes", classes, "-o", tmp_path / "x", *AT_FULL_WIDTH)


def test_without_a_file_of_classes_nothing_is_imported(weights: Path, tmp_path: Path) -> None:
    said = mistake("import", weights, UT, "--classes", tmp_path / "none.txt", "-o", tmp_path / "x", *AT_FULL_WIDTH)
    assert str(tmp_path / "none.txt") in said


def test_a_file_that_needs_pickle_is_not_imported(weights: Path, classes: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "args": argparse.Namespace(lr=0.1)}, weights)
    out = tmp_path / "x.safetensors"
    said = mistake("import", weights, UT, "--classes", classes, "-o", out, *AT_FULL_WIDTH)
    assert said.startswith(f"sth: {weights} holds Python objects, which can run any code when they are loaded")
    assert not out.exists()


def test_weights_of_another_network_are_not_imported(weights: Path, classes: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    said = mistake("import", weights, UT, "--classes", classes, "-o", out, "--set", "model.conv=2d")
    assert f"{weights} does not fit a resnet18 for 3 classes: conv1.weight is (64, 3, 7, 7) where the network" in said
    classes.write_text("one\ntwo")
    said = mistake("import", weights, UT, "--classes", classes, "-o", out, *AT_FULL_WIDTH)
    assert "resnet18 for 2 classes: fc.weight is (3, 512) where the network has (2, 512)" in said
    assert not out.exists()


def test_a_recipe_that_makes_no_network_is_named(weights: Path, classes: Path, tmp_path: Path) -> None:
    said = mistake("import", weights, UT, "--classes", classes, "-o", tmp_path / "x", "--set", "model.conv=4d")
    assert said.startswith(f"sth: {UT} [model]: unknown conv '4d'")
