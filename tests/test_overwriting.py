"""Other work into a folder is refused with what differs, and changes nothing; with --overwrite the earlier is moved."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from analysis.experiments import interventions, trust
from analysis.experiments.clip_tests import ClipResult
from analysis.explain import alpha_replacement
from analysis.runs.dataset_options import DatasetOptions
from analysis.runs.run_directory import clips_of, find_runs, open_run, run_work
from sth_core.errors import UserError
from tests.datasets_on_disk import class_folders_of_videos
from tests.test_cli import ends_well, mistake
from tests.test_stop_and_go import RECIPE
from tests.tiny import CLASSES, save_tiny, write_run
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


# {case: (the command, what it says)}; a name in capitals is a place. Nothing that is there is changed.
REPLACING = {
    "a checkpoint": ("complexity NET --csv NET", "--csv NET is a file that is read; name another one"),
    "a recipe": ("complexity RECIPE --csv RECIPE", "--csv RECIPE is a file that is read; name another one"),
    "an input by a link": ("complexity NET --csv LINK", "--csv LINK is a file that is read"),
    "another checkpoint": ("complexity RECIPE --csv NET", "--csv NET exists and does not end in .csv; name a new file"),
    "no table": ("complexity --csv TEXT", "--csv TEXT exists and does not end in .csv"),
    "notes: a run": ("notes RUN --csv RUN/run.json", "--csv RUN/run.json has the name of a run's description"),
    "notes: a part": ("notes RUN --fiftyone RUN/part.json", "lies in the run RUN; name a file outside of it"),
    "notes: into a run": ("notes RUN --csv RUN/notes/new.csv", "lies in the run RUN; name a file outside of it"),
    "notes: by a link": ("notes RUN --csv RUN_LINK/new.csv", "lies in the run RUN; name a file outside of it"),
    "notes: CSV as JSON": ("notes RUN --fiftyone OLD", "--fiftyone OLD exists and does not end in .json"),
    "notes: a video list": ("notes RUN --csv DATA/manifest.csv", "--csv DATA/manifest.csv is a file that is read"),
    "notes: twice": ("notes RUN --csv NEW --fiftyone NEW", "--csv and --fiftyone both name NEW; give each"),
    "notes: both": ("notes RUN --csv NEW --manifest NEW", "--csv and --manifest both name NEW; give each"),
    "notes: manifest": ("notes RUN --csv NEW --manifest NET", "--manifest NET exists and does not end in .csv"),
    "notes: manifest and table": ("notes RUN --csv NEW --manifest DATA/manifest.csv", "the manifest that is corrected"),
    "results: a run": ("results RUN --csv RUN/run.json", "--csv RUN/run.json has the name of a run's description"),
    "results: into a run": ("results RUN --csv RUN/table.csv", "--csv RUN/table.csv lies in the run RUN; name a file"),
    "results: no folder": ("results --csv NEW", "is for the table of runs, and no folder is given"),
    "import: weights": ("import NET RECIPE --classes TEXT -o NET", "-o NET is a file that is read"),
    "import: classes": ("import NET RECIPE --classes TEXT -o TEXT", "-o TEXT is a file that is read"),
    "import: a network": ("import OLD RECIPE --classes TEXT -o NET", "-o NET exists, and `sth import` did not make it"),
    "import: a table": ("import NET RECIPE --classes TEXT -o OLD", "-o OLD exists and does not end in .safetensors"),
    "results: no table": ("results RUN --csv NET", "--csv NET exists and does not end in .csv"),
}  # fmt: skip


@pytest.fixture
def written_to(tmp_path: Path) -> dict[str, Path]:
    """What the commands of `REPLACING` read, and other files of a person."""
    names = {"RECIPE": "r.toml", "LINK": "link.csv", "RUN_LINK": "run_link", "TEXT": "x.txt", "OLD": "old.csv"}
    made = {name: tmp_path / file for name, file in names.items()}
    made |= {"NEW": tmp_path / "new.csv", "RUN": write_run(tmp_path / "run", [[0.5], [0.6]]), "DATA": tmp_path / "data"}
    made["NET"] = save_tiny(tmp_path / "n.safetensors")
    made["LINK"].symlink_to(made["NET"])
    made["RUN_LINK"].symlink_to(made["RUN"])
    made["RECIPE"].write_text(RECIPE, encoding="utf-8")
    made["DATA"].mkdir()
    clips = "".join(f"{clip},a\n" for clip in clips_of(open_run(made["RUN"]), ())["clip_id"])
    for clip in clips.split(",a\n")[:-1]:
        (made["DATA"] / f"{clip}.mp4").touch()
    for file in (made["TEXT"], made["OLD"], made["DATA"] / "manifest.csv", made["RUN"] / "part.json"):
        file.write_text(f"path,label\n{clips}", encoding="utf-8")
    description = json.loads((made["RUN"] / "run.json").read_text())
    (made["RUN"] / "run.json").write_text(json.dumps(description | {"data": str(made["DATA"])}))
    return made


def with_places(text: str, places: dict[str, Path]) -> str:
    return re.sub("|".join(sorted(places, key=len, reverse=True)), lambda found: str(places[found[0]]), text)


@pytest.mark.parametrize("case", REPLACING)
def test_no_table_replaces_a_file_of_a_person(case: str, written_to: dict[str, Path], tmp_path: Path) -> None:
    command, sentence = (with_places(text, written_to) for text in REPLACING[case])
    before = contents(tmp_path)
    assert sentence in mistake(*command.split())
    assert contents(tmp_path) == before and written_to["LINK"].is_symlink()


@pytest.mark.parametrize("command", ["complexity RECIPE --csv OLD", "notes RUN --csv OLD", "results SCORED --csv OLD"])
def test_an_earlier_table_is_replaced(command, written_to, recorded: Path, tmp_path: Path) -> None:
    written_to["SCORED"] = recorded
    before = contents(tmp_path)
    ends_well(*with_places(command, written_to).split())
    after = contents(tmp_path)
    assert {name for name in before if after[name] != before[name]} == {"old.csv"}
    beside = command.replace("OLD", "RUN/../other.csv")  # outside of the run, by way of it
    ends_well(*with_places(beside, written_to).split())
    assert contents(tmp_path).keys() - after.keys() == {"other.csv"}
