"""Three kinds of networks on the same real clips in the app: python -m docs.three_networks UT_INTERACTION -o out/three

- sth: MobileNetV2 with STH convolutions, trained by the recipe `ut_interaction_imagenet` (ImageNet weights).
- swin3d_t: torchvision's, with random weights (seed 0), of which the last layer alone is fitted to the training clips.
- one_frame: scores that this script computes as another program would, and writes into a CSV: logistic regression on
  torchvision's MobileNetV2 with ImageNet weights, of a clip's middle frame.

All three answer for the 24 held-out clips. About 20 minutes on two cores.
"""

import subprocess
import sys
from pathlib import Path

import click
import cv2
import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
from torchvision.models.video import swin3d_t

sys.path.insert(0, str(Path(__file__).parent.parent))
from analysis.runs.features import read_features
from analysis.runs.run_directory import open_run
from benchmarks.browser import chromium, serving
from docs.screenshots import shoot
from sth_core.recipe import load_recipe

RECIPE = "ut_interaction_imagenet"
HELD_OUT = load_recipe(RECIPE).data.held_out  # sequences
SWIN = "torchvision:swin3d_t"
GROUPS = ("--group", "sequence")  # its clips have the same people and scene


def sth(*words: object) -> None:
    print("sth", *words, flush=True)
    subprocess.run([sys.executable, "-m", "workbench", *map(str, words)], check=True)


def with_splits(dataset: Path, out: Path) -> tuple[Path, pd.DataFrame]:
    """A folder of links to the clips, whose manifest has a column `split`; and the manifest."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = pd.read_csv(dataset / "manifest.csv", dtype=str)
    manifest = manifest.assign(split=np.where(manifest["sequence"].isin(HELD_OUT), "val", "train"))
    manifest.to_csv(out / "manifest.csv", index=False)
    for label in sorted(set(manifest["label"])):
        if not (out / label).exists():
            (out / label).symlink_to((dataset / label).resolve())
    return out, manifest


def fitted_swin(data: Path, classes: list[str], out: Path) -> tuple[Path, Path]:
    """Weights of a Swin3D whose last layer tells the classes of the training clips, and the file of their names."""
    torch.manual_seed(0)
    module = swin3d_t(num_classes=len(classes))
    names, weights, run = out / "classes.txt", out / "swin3d_t.safetensors", out / "features"
    names.write_text("".join(f"{name}\n" for name in classes))
    save_file(module.state_dict(), out / "random.safetensors")
    sth(
        "record", SWIN, "--weights", out / "random.safetensors", "--class-names", names, "--data", data,
        "--split", "train", "--features", "-o", run,
    )  # fmt: skip
    features = read_features(open_run(run))
    mean, spread = features.matrix.mean(0), features.matrix.std(0) + 1e-6
    fitted = LogisticRegression(max_iter=1000).fit(
        (features.matrix - mean) / spread, features.clips["label"].astype(str)
    )
    assert list(fitted.classes_) == classes
    weight = np.ascontiguousarray(fitted.coef_ / spread)
    module.head.weight.data = torch.tensor(weight, dtype=torch.float32)
    module.head.bias.data = torch.tensor(fitted.intercept_ - weight @ mean, dtype=torch.float32)
    save_file(module.state_dict(), weights)
    return weights, names


def middle_frame(video: Path) -> torch.Tensor:
    """(3, H, W), 0 to 255."""
    opened, frames = cv2.VideoCapture(str(video)), []
    while (read := opened.read())[0]:
        frames.append(read[1])
    return torch.from_numpy(cv2.cvtColor(frames[len(frames) // 2], cv2.COLOR_BGR2RGB)).permute(2, 0, 1)


@torch.inference_mode()
def one_frame_scores(data: Path, manifest: pd.DataFrame, out: Path) -> Path:
    """A CSV with path, label and a score for each class, as any other program could write it."""
    pretrained = MobileNet_V2_Weights.IMAGENET1K_V1
    network, transform = mobilenet_v2(weights=pretrained).eval(), pretrained.transforms()
    frames = [transform(middle_frame(data / path)) for path in manifest["path"]]
    features = torch.cat([network.features(frame[None]).mean((2, 3)) for frame in frames]).numpy()
    train = (manifest["split"] == "train").to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features[train], manifest["label"][train])
    scores = pd.DataFrame(model.predict_proba(features[~train]), columns=[f"score_{name}" for name in model.classes_])
    table = pd.concat([manifest[~train].reset_index(drop=True)[["path", "label"]], scores], axis=1)
    table.to_csv(out, index=False)
    return out


@click.command(help=__doc__)
@click.argument("dataset", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="A folder for the runs.")
@click.option("--images", type=click.Path(path_type=Path), default=Path("docs/images"), show_default=True)
def main(dataset: Path, out: Path, images: Path) -> None:
    runs = out / "runs"
    data, manifest = with_splits(dataset, out / "ut_interaction")
    classes = sorted(set(manifest["label"]))
    if not (runs / "sth").exists():
        sth("train", RECIPE, "--data", dataset, "-o", out / "sth")
        sth("record", out / "sth/model.safetensors", "--data", data, "-o", runs / "sth")
    if not (runs / "swin3d_t").exists():
        weights, names = fitted_swin(data, classes, out)
        sth(
            "record",
            SWIN,
            "--weights",
            weights,
            "--class-names",
            names,
            "--data",
            data,
            *GROUPS,
            "-o",
            runs / "swin3d_t",
        )
    if not (runs / "one_frame").exists():
        scores = one_frame_scores(data, manifest, out / "one_frame.csv")
        sth("import-predictions", scores, "--data", data, "--split", "val", *GROUPS, "-o", runs / "one_frame")
    images.mkdir(parents=True, exist_ok=True)
    with serving(runs) as (address, _), chromium() as browser:
        page = browser.new_page()
        shoot(page, f"{address}/compare?a=sth&b=swin3d_t&more=one_frame", images / "networks-compare.png")
        shoot(page, f"{address}/predictions?run=one_frame", images / "networks-imported.png")


if __name__ == "__main__":
    main()
