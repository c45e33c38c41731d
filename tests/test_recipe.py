"""A recipe file says everything about a run, or is refused with a sentence."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from sth_core import create_model, load_checkpoint
from sth_core.datasets.mirroring import mirror_labels
from sth_core.datasets.synthetic import MOTION_PAIRS, MOTIONS
from sth_core.datasets.table import Annotation, read_dataset
from sth_core.errors import UserError
from sth_core.recipe import SHIPPED_RECIPES, Recipe, Start, build_model, load_annotation, load_recipe, recipe_from
from sth_core.study import load_study
from sth_core.training import load_start_weights, train
from sth_core.video.modality import CHANNELS
from workbench.cli import main

NAMES = sorted(path.stem for path in SHIPPED_RECIPES.glob("*.toml") if not path.stem.startswith("study_"))
MOTION = "synthetic_motion"


def test_there_is_a_recipe_for_each_question_and_modality() -> None:
    questions = {f"synthetic_{question}{flow}" for question in ("motion", "appearance") for flow in ("", "_flow")}
    assert questions <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_builds_its_network(name: str) -> None:
    recipe = load_recipe(name)
    model = create_model(num_classes=12, **recipe.model)
    p = recipe.preprocessing
    assert (model.config.frames, model.config.modality) == (p.frames, p.modality)
    assert CHANNELS[p.modality] % len(p.mean) == CHANNELS[p.modality] % len(p.std) == 0
    assert p.crop <= p.short_side
    clips = torch.zeros(1, p.frames, CHANNELS[p.modality], 64, 64)
    assert model.eval()(clips).shape == (1, 12)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_takes_a_step(name: str, scenes_folder: Path, tmp_path: Path) -> None:
    """Its settings and its network, an eighth as wide, on a few clips of another dataset at a quarter of their size."""
    small = ("model.width=8", "preprocessing.crop=56", "preprocessing.resize=64", "optimisation.epochs=1",
             "optimisation.batch_size=2")  # fmt: skip
    recipe = load_recipe(name, small)
    recipe = replace(recipe, start=Start(), data=Annotation(label="motion"))
    table = read_dataset(scenes_folder, recipe.data).groupby("split").head(2)
    trained = train(recipe, table, tmp_path, "cpu")
    assert trained.failures == {} and load_checkpoint(trained.checkpoint).training["epochs"] == 1


@pytest.mark.parametrize(
    ("name", "frames", "classes", "millions"),
    [("something_v1_8", 8, 174, 23.2), ("something_v1_16", 16, 174, 23.2), ("kinetics_16", 16, 400, 23.7)],
)
def test_the_paper_s_recipes_are_the_paper_s_networks(name: str, frames: int, classes: int, millions: float) -> None:
    """Table 2: 23.2 M parameters with 174 classes."""
    recipe = load_recipe(name)
    model = create_model(num_classes=classes, **recipe.model)
    assert model.config.frames == frames and model.config.temporal_fraction == 1 / 4 and model.config.attention
    assert sum(w.numel() for w in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert (recipe.preprocessing.resize, recipe.preprocessing.crop) == ((256, 340), 224)
    assert (recipe.optimisation.momentum, recipe.optimisation.weight_decay) == (0.9, 5e-4)


@pytest.mark.parametrize("name", ["synthetic_motion", "synthetic_motion_flow"])
def test_a_mirrored_or_reversed_motion_is_another_motion(name: str) -> None:
    augment = load_recipe(name).augment
    assert {frozenset(pair) for pair in augment.reverse_swaps} == {frozenset(pair) for pair in MOTION_PAIRS}
    assert augment.flip
    exchanged = {label: image for label, image in mirror_labels(list(MOTIONS)).items() if image != label}
    assert exchanged == {
        "moving left": "moving right",
        "moving right": "moving left",
        "turning clockwise": "turning counterclockwise",
        "turning counterclockwise": "turning clockwise",
    }


@pytest.mark.parametrize("name", ["synthetic_appearance", "synthetic_appearance_flow"])
def test_a_mirrored_or_reversed_thing_is_the_same_thing(name: str) -> None:
    augment = load_recipe(name).augment
    assert augment.flip_swaps == augment.reverse_swaps == ()


def test_the_two_questions_are_put_to_the_same_network_in_the_same_way() -> None:
    motion, appearance = load_recipe(MOTION), load_recipe("synthetic_appearance")
    assert (motion.model, motion.preprocessing) == (appearance.model, appearance.preprocessing)
    assert motion.optimisation == appearance.optimisation


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("model.temporal_fraction=1/8", 0.125),
        ("model.temporal_fraction=0.5", 0.5),
        ("model.conv=2d", "2d"),
        ('model.conv="sth_merge"', "sth_merge"),
        ("model.attention=false", False),
        ("model.dilations=[1, 2, 3]", (1, 2, 3)),
        ("model.width=32", 32),
    ],
)
def test_a_change_goes_before_what_the_file_says(change: str, value: object) -> None:
    key = change.split("=")[0].removeprefix("model.")
    recipe = load_recipe(MOTION, (change,))
    assert recipe.model == load_recipe(MOTION).model | {key: value}
    assert type(recipe.model[key]) is type(value)


def test_of_two_changes_of_a_key_the_last_counts() -> None:
    assert load_recipe(MOTION, ("optimisation.epochs=3", "optimisation.epochs=5")).optimisation.epochs == 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("model.widht=32", "[model]: unknown key 'widht' (did you mean 'width'?); possible: backbone, frames, "),
        ("model.num_classes=5", "[model]: unknown key 'num_classes'"),
        ("optimization.epochs=5", ": unknown section 'optimization' (did you mean 'optimisation'?); possible: data, "),
        ("optimisation.epochs=many", "[optimisation]: epochs must be a whole number from 1 to 100,000, got 'many'"),
        ("optimisation.epochs=2.5", "[optimisation]: epochs must be a whole number from 1 to 100,000, got 2.5"),
        ("optimisation.epochs=true", "[optimisation]: epochs must be a whole number from 1 to 100,000, got True"),
        (
            "optimisation.learning_rate=fast",
            "[optimisation]: learning_rate must be a number above 0 and at most 1,000, got 'fast'",
        ),
        ("model.attention=1", "[model]: attention must be true or false, got 1"),
        (
            "model.dilations=2",
            "[model]: dilations must be a list of 1 to 100 items, each a whole number from 1 to 64, got 2",
        ),
        ("model.temporal_fraction=1/0", "[model]: temporal_fraction must be a number from 0 to 1, got '1/0'"),
        (
            "augment.flip_swaps=[[1]]",
            "[augment]: flip_swaps must be a list of at most 1,000 items, each a list of 2, each a text of ",
        ),
        (
            "augment.crop_scales=[0.5, 2]",
            "[augment]: crop_scales must be a list of at most 100 items, each a number from 0.05 to 1, got [0.5, 2]",
        ),
        ("data.format=jestre", "[data]: unknown dataset format 'jestre'; possible: manifest, "),
        ("optimisation.schedule=linear", "schedule must be one of cosine, step, got 'linear'"),
        ("optimisation.schedule=step", "schedule 'step' needs decay_epochs, such as [20, 40]"),
        ("optimisation.precision=int8", "precision must be one of fp32, tf32, bf16, fp16, got 'int8'"),
        ("optimisation.accumulate=0", "accumulate must be a whole number from 1 to 65,536, got 0"),
        ("preprocessing.crop=200", "[preprocessing]: crop (200) must not be larger than resize (108)"),
        ("start.imagenet=true", "[start]: give either checkpoint or imagenet, not both"),
        ("model.width", "a change must look like section.key=value, got 'model.width'"),
        ("width=3", "a change must look like section.key=value, got 'width=3'"),
        ("model.width=", "a change must look like section.key=value, got 'model.width='"),
    ],
)
def test_a_change_that_cannot_be_is_refused_with_the_near_word(change: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        load_recipe(MOTION, ("start.checkpoint=x.pth", change))
    assert sentence in str(refused.value)


def test_a_whole_number_is_a_number() -> None:
    assert load_recipe(MOTION, ("optimisation.learning_rate=1",)).optimisation.learning_rate == 1


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text('[model]\nbackbone = "resnet18"\n[optimisation]\nepochs = 2\nbatch_size = 4\n')
    with pytest.raises(UserError, match=r"short\.toml \[optimisation\]: missing learning_rate, warmup_epochs, "):
        load_recipe(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "cannot read the recipe"), (b"epochs 3", "is not a TOML file"), (b"\xff", "is not a TOML file")],
)
def test_a_file_that_is_no_recipe_is_refused(content: bytes | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as refused:
        load_recipe(path)
    assert str(path) in str(refused.value)


def test_a_recipe_survives_being_written_as_plain_values() -> None:
    recipe: Recipe = load_recipe(MOTION, ("model.dilations=[1, 2]",))
    assert recipe_from(asdict(recipe), "checkpoint") == recipe


@pytest.mark.parametrize("given", ["ut_interaction", "ut_interaction.toml", Path("ut_interaction")])
def test_a_shipped_recipe_is_found_by_its_name_from_any_folder(
    given: Path | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ut_interaction").mkdir()  # a dataset of that name is no recipe
    assert load_recipe(given) == load_recipe(SHIPPED_RECIPES / "ut_interaction.toml")
    assert load_annotation(given).group == "sequence"
    result = CliRunner().invoke(main, ["train", str(given), "--data", "nowhere", "-o", "out"])
    assert result.output == "sth: no such dataset folder: nowhere\n"


def test_a_file_goes_before_a_shipped_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (SHIPPED_RECIPES / "ut_interaction.toml").read_text(encoding="utf-8").replace("epochs = ", "epochs = 1")
    Path("ut_interaction.toml").write_text(text, encoding="utf-8")
    epochs = load_recipe(SHIPPED_RECIPES / "ut_interaction.toml").optimisation.epochs
    assert load_recipe("ut_interaction.toml").optimisation.epochs == int(f"1{epochs}")
    assert load_recipe("ut_interaction").optimisation.epochs == epochs  # that file has another name


def test_the_network_that_a_shipped_recipe_starts_from_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("synthetic_appearance_flow")
    model = build_model(recipe, 12)
    before = model.state_dict()["fc.weight"].clone()
    load_start_weights(model, load_checkpoint(recipe.start.file).classes, recipe.start)
    assert not torch.equal(model.fc.weight, before)


@pytest.mark.parametrize(
    ("load", "name", "sentence"),
    [
        (load_recipe, "ut_interacton", "no shipped recipe (did you mean 'ut_interaction'?)"),
        (load_recipe, "recipes/jester_8.tml", "no shipped recipe (did you mean 'jester_8'?)"),
        (load_recipe, "mine.toml", "no shipped recipe; shipped: hmdb51_16, hmdb51_flow_16, jester_16, "),
        (load_annotation, "ucf101", "no shipped recipe (did you mean 'ucf101_16'?)"),
        (load_study, "study_ut_interacton", "no shipped study (did you mean 'study_ut_interaction'?)"),
        (load_study, "ut_interaction", "no such file, and no shipped study (did you mean 'study_ut_interaction'?)"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(load: Callable, name: str, sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        load(name)
    assert f" {name}: no such file, and " in str(refused.value) and sentence in str(refused.value)


NUMBERS = ["true", '"3"', "[]", "{}", "nan", "inf", "-inf", "-1", "1e300", "1979-05-27"]
OUT_OF_RANGE = {
    "optimisation.epochs": [0, 100_001, 2.5],
    "optimisation.batch_size": [0, 65_537, 2.5],
    "optimisation.accumulate": [0, 65_537],
    "optimisation.learning_rate": [0, 1001],
    "optimisation.warmup_epochs": [100_001],
    "optimisation.momentum": [1, 1.5],
    "optimisation.weight_decay": [1, 2],
    "optimisation.label_smoothing": [1, 1.1],
    "optimisation.clip_gradient": [0, 1e10],
    "optimisation.seed": [2**63, 0.5],
    "optimisation.evaluate_every": [100_001, 0.5],
    "preprocessing.frames": [0, 1025, 10**9],
    "preprocessing.resize": [0, 4097],
    "preprocessing.crop": [0, 4097],
    "preprocessing.flow_bound": [0, 1001],
    "preprocessing.stride": [1025],
    "model.frames": [0, 1025],
    "model.width": [0, 1025],
    "model.dropout": [1, 1.5],
    "model.temporal_fraction": [1.5],
    "data.fold": [0, 1001],
}
LISTS = {
    "optimisation.decay_epochs": ["[-1]", "[0.5]", "[[1]]", "[true]", '["1"]', "[100001]"],
    "preprocessing.mean": ["[]", "[0.1, 0.2]", "[nan]", "[1.1]", "[-0.1]", "[123.675, 116.28, 103.53]", '["a"]'],
    "preprocessing.std": ["[]", "[0]", "[0.0]", "[-0.2]", "[inf]", "[58.4]", "[1e-9]"],
    "preprocessing.resize": ["[]", "[1]", "[1, 2, 3]", "[0, 100]", "[100, 0.5]", "[5000, 100]", '["a", "b"]'],
    "augment.crop_scales": ["[0]", "[0.01]", "[-0.5]", "[nan]", "[true]", "[[1]]"],
    "augment.flip_swaps": ['["a", "b"]', '[["a"]]', '[["a", "b", "c"]]', '[["a", 1]]', '[["", "b"]]', '[["a", "a"]]'],
    "augment.reverse_swaps": ['[["a", "b"], ["b", "c"]]', '[["a", "b"], ["a", "b"]]'],
    "model.dilations": ["[]", "[0]", "[65]", "[1.5]", "[1000000000]"],
    "data.held_out": ["[1]", '"a"', "[[]]"],
}


@pytest.mark.parametrize("key", [*OUT_OF_RANGE, *LISTS])
def test_every_number_has_a_range_and_its_sentence_names_key_and_value(key: str) -> None:
    given = [*NUMBERS, *map(str, OUT_OF_RANGE[key])] if key in OUT_OF_RANGE else LISTS[key]
    for value in given:
        with pytest.raises(UserError) as refused:
            load_recipe(MOTION, (f"{key}={value}",))
        sentence, name = str(refused.value), key.partition(".")[2]
        assert f"{name} must " in sentence and "got" in sentence and "\n" not in sentence, sentence


def test_a_clip_that_fits_into_no_memory_is_refused() -> None:
    large = ("preprocessing.resize=4096", "preprocessing.frames=64", "model.frames=64")
    with pytest.raises(UserError, match="at most 67,108,864 values, got 64 frames of 4096 x 4096 pixels with 3 chan"):
        load_recipe(MOTION, large)


def test_a_vgg_needs_a_crop_that_its_poolings_leave_something_of() -> None:
    with pytest.raises(UserError, match="crop must be at least 32 for a vgg16, got 31"):
        load_recipe(MOTION, ("model.backbone=vgg16", "preprocessing.crop=31"))


@pytest.mark.parametrize("value", ["1e999999999", ".5e999999999", "1/1e999999999", "9" * 5000, "[" * 3000])
def test_a_change_of_a_huge_number_takes_no_time(value: str) -> None:
    with pytest.raises(UserError, match="width must be a whole number from 1 to 1,024"):
        load_recipe(MOTION, (f"model.width={value}",))


def test_a_change_of_two_lines_is_no_value() -> None:
    with pytest.raises(UserError, match="width must be a whole number"):
        load_recipe(MOTION, ("model.width=8\nx = 3",))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: "model = 3\n", "'model' must be a section such as [model], got 3"),
        (lambda text: "[[model]]\n" + text.partition("[preproc")[0], "is not a TOML file"),
        (lambda text: text + f"\nx = {'[' * 5000}", "nested too deep"),
        (lambda text: text + f"\nx = {'9' * 5000}", "is not a TOML file"),
        (lambda text: text + "#" * 2**20, "it has more than 1,048,576 bytes"),
        (lambda text: text + "\0", "is not a TOML file"),
    ],
)
def test_a_file_of_another_shape_is_refused(change: Callable[[str], str], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(change((SHIPPED_RECIPES / f"{MOTION}.toml").read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError) as refused:
        load_recipe(path, ("model.width=8",))
    assert str(path) in str(refused.value) and sentence in str(refused.value)


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (SHIPPED_RECIPES / f"{MOTION}.toml").read_bytes())
    assert load_recipe(path) == load_recipe(MOTION)
