"""Other work into a folder is refused with what differs, and changes nothing; with --overwrite the earlier is moved."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from analysis.experiments import interventions, trust
from analysis.experiments.clip_tests import ClipResult
from analysis.explain import alpha_replacement
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.run_directory import find_runs, open_run, run_work
from sth_core.errors import UserError
from tests.datasets_on_disk import class_folders_of_videos
from tests.tiny import CLASSES, save_tiny
from workbench.cli import main

# {work: (the command, what makes it other work, what differs, what is moved)}; A and B are networks, RUN a run of A.
RECORDED = {"run.json", "predictions", "failures.parquet"}
CASES = {
    "record": (["record", "A"], ["record", "B"], "checkpoint_sha256", RECORDED),
    "evaluate": (["evaluate", "A"], ["evaluate", "A", "--clips", "2"], "protocol.clips_per_video", RECORDED),
    "probe": (["probe", "A"], ["probe", "A", "--shuffles", "1"], "shuffles is 3, now 1", {"probes.json"}),
    "probe another network": (["probe", "A"], ["probe", "B"], "checkpoint_sha256", RECORDED | {"probes"}),
    "fuse": (["fuse", "RUN", "RUN"], ["fuse", "RUN", "RUN", "--weight", "1", "--weight", "3"], "fused is", RECORDED),
    "data flow": (
        ["data", "flow", "VIDEOS"],
        ["data", "flow", "VIDEOS", "--side", "32"],
        "side is 256, now 32",
        {"val"},
    ),
}


@pytest.fixture(scope="module")
def places(scenes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("places")
    places = {name: save_tiny(folder / f"{name}.safetensors", seed=i) for i, name in enumerate("AB")}
    clips = sorted((scenes_folder / "val").iterdir())[:3]
    labels = pd.DataFrame({"path": [str(clip) for clip in clips], "motion": CLASSES[:3], "split": "val"})
    (folder / "data").mkdir()
    labels.to_csv(folder / "data" / "manifest.csv", index=False)
    places |= {"DATA": folder / "data", "VIDEOS": class_folders_of_videos(folder / "videos"), "RUN": folder / "run"}
    assert sth(["record", "A"], places, folder / "run").exit_code == 0
    return places


def sth(words: list[str], places: dict[str, Path], out: Path) -> Result:
    words = [str(places.get(word, word)) for word in words]
    data = [] if words[0] in ("fuse", "data") else ["--data", str(places["DATA"])]
    return CliRunner().invoke(main, [*words, *data, "-o", str(out)])


def contents(folder: Path) -> dict[str, bytes]:
    """All files but hidden ones and those in hidden folders."""
    files = {str(file.relative_to(folder)): file for file in folder.rglob("*") if file.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if "/." not in f"/{name}"}


@pytest.mark.parametrize("work", CASES)
def test_other_work_is_refused_or_moves_the_earlier_aside(work: str, places: dict[str, Path], tmp_path: Path) -> None:
    words, other, difference, moved = CASES[work]
    out = tmp_path / "out"
    assert sth(words, places, out).exit_code == 0
    (out / "notes.sqlite").write_bytes(b"mine")
    before = contents(out)
    refused = sth(other, places, out)
    assert refused.exit_code == 2 and contents(out) == before
    assert "holds another " in refused.output and difference in refused.output and "--overwrite" in refused.output
    assert sth(words, places, out).exit_code == 0  # the same is still accepted
    before = contents(out)
    done = sth([*other, "--overwrite"], places, out)
    assert done.exit_code == 0, done.output
    (replaced,) = out.rglob(".replaced-1")
    assert str(replaced) in done.output and {path.name for path in replaced.iterdir()} >= moved
    where = replaced.parent.relative_to(out)
    for name, content in contents(replaced).items():
        assert before[str(where / name)] == content
    assert (out / "notes.sqlite").read_bytes() == b"mine" and sth(other, places, out).exit_code == 0
    assert len(find_runs(out)) == (out / "run.json").is_file()


@pytest.mark.parametrize("work", ["intervene", "trust"])
def test_so_it_is_of_what_takes_minutes(work, places, tmp_path, monkeypatch):
    """By the functions that the commands call, with one replacement of attention, and no test of explanations."""
    monkeypatch.setattr(alpha_replacement, "interventions", lambda model, clips, *_: [("all", "none", model(clips))])
    monkeypatch.setattr(trust, "clip_tables", lambda _, result: dict.fromkeys(trust.TABLES, result.row[["clip_id"]]))
    monkeypatch.setattr(trust, "clip_result", lambda tests, clip, row, *_: ClipResult(clip, row, clip, {}, {}, {}, {}))
    monkeypatch.setattr(trust, "randomized_models", lambda model: [])
    told: list[str] = []

    def do(seed: int, **options: Any) -> Path:
        if work == "trust":
            out = tmp_path / "trust"
            settings = DatasetOptions(notify=told.append, **options)
            assert trust.trust(places["A"], places["DATA"], out, settings, clips=3, seed=seed) == {}
            return out
        settings = DatasetOptions(batch_size=2, notify=told.append, **options)
        interventions.intervene(open_run(places["RUN"]), places["DATA"], settings, seed=seed)
        return places["RUN"] / "interventions"

    out = do(seed=0)
    shard = max(out.glob(f"{'clips' if work == 'trust' else 'effects'}/part-*.parquet"))
    shard.unlink()  # as if interrupted there
    assert do(seed=0) == out and shard.is_file() and not any("moved to" in said for said in told)
    before = contents(out)
    told.clear()
    with pytest.raises(UserError, match=r"holds another .* \(seed is 0, now 1\); choose another folder, or give --ov"):
        do(seed=1)
    assert contents(out) == before
    do(seed=1, overwrite=True)
    assert [said for said in told if said.endswith(f"was moved to {out / '.replaced-1'}")]
    assert contents(out / ".replaced-1") == before and contents(out).keys() == before.keys()


ONE_RECORDING = {
    "checkpoint_sha256": ("1f", "2e"), "attention": (True, False), "data": ("/data", "/else"), "label": ("motion", ""),
    "direction": (False, True), "split": ("val", "test"), "vectors": (False, True),
    "precision": ("fp32", "tf32"),
    "protocol.clips_per_video": (1, 2), "protocol.crop": ("center", "ten"), "protocol.sampling": ("middles", "dense"),
}  # fmt: skip


@pytest.mark.parametrize("key", ONE_RECORDING)
def test_what_makes_two_recordings_the_same(key: str, tmp_path: Path) -> None:
    """All of these; a run of an earlier version, without `direction` and `vectors`, is one where both are false, and
    is of fp32."""

    def facts(changed: str = "") -> dict[str, Any]:
        of_protocol = {name: value[name == changed] for name, value in ONE_RECORDING.items() if "." in name}
        plain = {name: value[name == changed] for name, value in ONE_RECORDING.items() if "." not in name}
        return plain | {"protocol": {name.partition(".")[2]: value for name, value in of_protocol.items()}}

    before = facts()
    assert run_work(tmp_path, facts(key)).differences(before) == {key: ONE_RECORDING[key]}
    assert run_work(tmp_path, before | {"command": "other"}).differences(before) == {}
    for missing in ("direction", "vectors", "precision"):
        del before[missing]
    assert run_work(tmp_path, facts(key)).differences(before) == {key: ONE_RECORDING[key]}
