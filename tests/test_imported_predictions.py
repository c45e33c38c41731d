"""Scores of another program become a run: the same of every format, checked, and without executing anything."""

import json
import os
import pickle
import re
import shlex
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from analysis.runs.importing import ImportOptions, import_predictions
from analysis.runs.left_out import why_left_out
from analysis.runs.plain_pickles import PlainArray, read_plain_pickle
from analysis.runs.run_directory import failures, open_run, predictions
from analysis.statistics.accuracy import summarize_accuracy
from analysis.statistics.confusion import confusion_cells
from sth_core.datasets.table import Annotation
from sth_core.errors import UserError
from tests.test_app import CLIP, COMPARE, PAGES, PREDICTIONS, open_page, words
from workbench.cli import main

CLASSES = ["hug", "kick", "push"]
PATHS = ["hug/a.mp4", "kick/b.mp4", "push/c.mp4", "push/d.mp4"]
LABELS = ["hug", "kick", "push", "push"]
SCORES = np.array([[0.5, 0.25, 0.25], [0.25, 0.625, 0.125], [0.75, 0, 0.25], [0, 0, 1]], np.float32)
RIGHT = [True, True, False, True]


def wide(labels: list[Any] = LABELS) -> pd.DataFrame:
    return pd.DataFrame({"path": PATHS, "label": labels} | {f"score_{c}": SCORES[:, i] for i, c in enumerate(CLASSES)})


def objects(labels: list[Any] = LABELS) -> list[dict[str, Any]]:
    return [
        {"path": p, "label": label, "scores": row.tolist()} for p, label, row in zip(PATHS, labels, SCORES, strict=True)
    ]


def dumped(named: bool = True, old: bool = False) -> list[dict[str, Any]]:
    """What `DumpResults` writes of `ActionDataSample.to_dict()`, of MMAction2 1.2 or, `old`, of 1.0."""
    samples = []
    for path, label, row in zip(PATHS, LABELS, torch.from_numpy(SCORES), strict=True):
        number = torch.tensor([CLASSES.index(label)])
        new = {"gt_label": number, "pred_label": row.argmax()[None], "pred_score": row}
        names = {"gt_label": "gt_labels", "pred_label": "pred_labels", "pred_score": "pred_scores"}
        sample = {names[k]: {"item": v} for k, v in new.items()} if old else new
        samples.append(sample | {"img_shape": (224, 224), "num_classes": 3} | ({"video_id": path} if named else {}))
    return samples


def write_lines(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def write(folder: Path, name: str) -> Path:
    """The same scores in one of the formats."""
    file, numbers = folder / name, [CLASSES.index(label) for label in LABELS]
    if name.startswith("semicolons"):
        wide().to_csv(file, sep=";", index=False)
    elif name.startswith("lists"):
        pd.DataFrame(objects()).to_csv(file, index=False)
    elif name.endswith(".csv"):
        points = [f"{number}.0" for number in numbers]
        wide({"numbers.csv": numbers, "points.csv": points}.get(name, LABELS)).to_csv(file, index=False)
    elif name.startswith("rows"):
        pd.DataFrame(objects()).to_parquet(file)
    elif name.endswith(".parquet"):
        wide().to_parquet(file)
    elif name.endswith(".jsonl"):
        write_lines(file, *map(json.dumps, objects()))
    elif name.startswith("by_class"):
        by_class = [row | {"scores": dict(zip(CLASSES, row["scores"], strict=True))} for row in objects()]
        file.write_text(json.dumps(by_class))
    elif name.startswith("by_path"):
        file.write_text(json.dumps({row["path"]: row for row in objects()}))
    elif name.endswith(".json"):
        file.write_text(json.dumps(objects(), indent=1))
    elif name.endswith(".npz"):
        np.savez(file, path=PATHS, label=numbers, scores=SCORES, classes=CLASSES)
    elif name.endswith(".npy"):
        np.save(file, SCORES)
    elif name == "slowfast.pkl":
        file.write_bytes(pickle.dumps([torch.from_numpy(SCORES), torch.tensor(numbers)]))
    else:
        file.write_bytes(pickle.dumps(dumped(old="old" in name), protocol=int(name[-5])))
    return file


FORMATS = (
    "wide.csv", "numbers.csv", "semicolons.csv", "lists.csv", "wide.parquet", "rows.parquet", "list.json",
    "by_path.json", "by_class.json", "lines.jsonl", "arrays.npz", "scores.npy", "dump2.pkl", "dump5.pkl",
    "dump_old4.pkl", "slowfast.pkl", "points.csv",
)  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_run(name, tmp_path):
    told: list[str] = []
    names = write_lines(tmp_path / "names.txt", *CLASSES)
    numbered = write_lines(
        tmp_path / "list.txt", *(f"{p} {CLASSES.index(label)}" for p, label in zip(PATHS, LABELS, strict=True))
    )
    options = ImportOptions(
        name="theirs",
        class_names=names,
        clips=numbered if name in ("scores.npy", "slowfast.pkl") else None,
        notify=told.append,
    )
    done = import_predictions(write(tmp_path, name), tmp_path / "run", options)
    run = open_run(tmp_path / "run")
    table = predictions(run)
    assert (done.clips, done.failures, done.accuracy, run.problem, why_left_out(run)) == (4, 0, 0.75, "", "")
    assert table["clip_id"].tolist() == PATHS and table["label"].tolist() == LABELS
    assert table["correct"].tolist() == RIGHT and table["prediction"].tolist() == ["hug", "kick", "hug", "push"]
    assert np.array_equal(np.stack(list(table["scores"])), SCORES)
    assert table["margin"].tolist() == [0.25, 0.375, 0.5, 1] and table["confidence"].tolist() == [0.5, 0.625, 0.75, 1]
    assert run.title == "imported clips, theirs, RGB" and run.p == "-" and "checkpoint" not in run.meta
    assert run.meta["imported"]["file"] == name and len(run.meta["checkpoint_sha256"]) == 64
    assert {"classes: 3, of --class-names: hug, kick, push", "scores: as they are in the file"} <= set(told)
    assert [line for line in told if line.startswith(("labels: as na", "labels: as numbers from 0"))]


class Hostile:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def hostile(folder: Path) -> list[Any]:
    touch = f"touch {folder / 'touched'}"
    command = (f"__import__('os').system({touch!r})",)
    return [
        Hostile(os.system, (touch,)), [Hostile(eval, command)], {"pred_score": {"item": Hostile(eval, command)}},
        Hostile(getattr, ("x", "load")), Hostile(np.load, ("x",)), np.array([{}], object),
        Hostile(torch.storage._load_from_bytes, (pickle.dumps(Hostile(os.system, (touch,))),)),
        OrderedDict(a=Hostile(exec, command)), {Hostile(eval, command)}, torch.ones(1).expand(10**12),
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("number", range(10))
def test_a_pickle_that_needs_code_is_refused_without_effect(number, protocol, tmp_path):
    file = tmp_path / "dump.pkl"
    if isinstance(value := hostile(tmp_path)[number], set):
        value = [value]
    file.write_bytes(pickle.dumps([{"pred_score": torch.ones(3)}, value], protocol=protocol))
    with pytest.raises(UserError, match="is a pickle that is not read") as error:
        import_predictions(file, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "touched").exists() and not (tmp_path / "run").exists()


def test_a_pickle_cannot_change_what_reads_it(tmp_path):
    """The opcode BUILD on a function, and lengths that are longer than the file."""
    for program in (
        b"\x80\x04cnumpy\ndtype\n}S'x'\nK\x01sb.", b"\x80\x04cnumpy\nndarray\nN}S'_function'\nNs\x86b.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x0f.", b"\x80\x04r\xff\xff\xff\x7f.",
        b"\x80\x04]cnumpy\ndtype\n\x81.",
    ):  # fmt: skip
        (tmp_path / "a.pkl").write_bytes(program)
        with pytest.raises(UserError, match="is a pickle that is not read"):
            read_plain_pickle(tmp_path / "a.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_tensors_are_read_as_they_were(protocol, tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    values = {
        "row": whole[1], "column": whole[:, 2], "half": whole.half(), "zero": torch.tensor(3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "big": np.arange(3, dtype=">i4"),
        "number": np.float32(0.1), "texts": np.array(["a", "bc"]), "ordered": OrderedDict(a=1), "size": torch.Size([2]),
    }  # fmt: skip
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(values, protocol=protocol))
    read = read_plain_pickle(tmp_path / "a.pkl")
    for name, value in values.items():
        found = read[name].array if isinstance(read[name], PlainArray) else read[name]
        assert np.array_equal(np.asarray(found), np.asarray(value)), name


def test_labels_that_are_no_classes_are_named(tmp_path):
    told: list[str] = []
    file = write_lines(tmp_path / "a.csv", f"{HEADER}\na,hug,0.5,0.5\nb,hugg,1,0\nc,hugg,1,0\nd,,1,0")
    done = import_predictions(file, tmp_path / "run", ImportOptions(notify=told.append))
    assert (done.clips, done.labelled, done.accuracy) == (4, 1, 1)
    assert "labels that are none of the classes (2 clips, which do not count): hugg" in told


HEADER = "path,label,score_hug,score_kick"
BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "empty": ("", {}, "is empty"),
    "no rows": (HEADER, {}, "holds no clips"),
    "not 1": (f"{HEADER}\na,hug,0.7,0.7\nb,hug,0.5,0.5", {}, r"1 of 2 clips .* row 1 \(a\) sum to 1.4.*--logits"),
    "negative": (f"{HEADER}\na,hug,1.5,-0.5", {}, "has -0.5, below 0"),
    "already": (f"{HEADER}\na,hug,0.5,0.5", {"logits": True}, "sum to 1 already; leave --logits out"),
    "twice": (f"{HEADER}\na,hug,0.5,0.5\na,hug,1,0", {}, "a stands twice, in rows 1 and 2"),
    "no path": (f"{HEADER}\n,hug,0.5,0.5", {}, "row 1 has no path"),
    "no path column": ("score_a,score_b\n0.5,0.5", {}, "does not name its clips; give --clips"),
    "no scores": ("path,label\na,hug", {}, "neither scores nor predictions"),
    "columns": (f"{HEADER}\na,hug,1,0", {"columns": "label=lable"}, "no column 'lable' .did you mean 'label'"),
    "roles": (f"{HEADER}\na,hug,1,0", {"columns": "name=x"}, "--columns names columns as path=video"),
    "doubled column": ("path,path,score_a,score_b\na,a,1,0", {}, "the column 'path' twice"),
    "lengths": ("path,scores\na,0.5 0.5\nb,1 0 0", {}, r"row 2 \(b\) has 3 scores, the rows before have 2"),
    "no numbers": ("path,scores\na,0.5 half", {}, "has no list of numbers"),
    "which class": ("path,label,scores\na,hug,0.5 0.5", {}, "does not say which class each is of.*--class-names"),
    "a place": ("path,label,score_a,score_b\na,7,1,0", {}, "label 7, but there are 2 classes"),
    "other order": ("path,prediction,score_a,score_b\na,b,1,0", {}, "the prediction is not the class of the highest"),
    "confidence": ("path,prediction,confidence\na,x,0.2\nb,y,0.9", {}, "confidence 0.2; that of the best of 2"),
    "one class": ("path,prediction\na,x", {}, "at least two classes"),
    "torn": (f"{HEADER}\na,hug,0.5", {}, "cannot be read"),
    "percent": (f"{HEADER}\na,hug,80,20\nb,hug,30,70", {}, "percent or sums over views, divide them by 100"),
    "top columns": ("path,p_1,p_2\na,.6,.1\nb,.7,.2", {}, "only the best classes are known, give --columns pred"),
    "top alone": (f"{HEADER}\na,hug,0.5,\nb,hug,,0.7", {}, "no clip has a finite score for each class; .*--columns"),
    "text": (f"{HEADER}\na,hug,0.5,0.5\nb,hug,none,1", {}, "score_hug' is no number"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used_is_refused_in_one_sentence(case, tmp_path):
    text, options, match = BAD[case]
    file = write_lines(tmp_path / "a.csv", text) if text else tmp_path / "a.csv"
    file.touch()
    with pytest.raises(UserError, match=match) as error:
        import_predictions(file, tmp_path / "run", ImportOptions(**options))
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"annotation": Annotation(group="group")}, "--group says"),
        ({"annotation": Annotation(group_pattern="(c.)")}, "--group-pattern says"),
        ({"annotation": Annotation(label="what"), "split": "val"}, "--label and --split say"),
    ],
)
def test_how_a_dataset_is_read_is_not_said_without_one(options, names, tmp_path):
    with pytest.raises(
        UserError, match=f"^{names} how a dataset is read, and none is given; give its folder with --data"
    ):
        import_predictions(write(tmp_path, "wide.csv"), tmp_path / "run", ImportOptions(**options))
    assert not (tmp_path / "run").exists()


def test_class_names_that_do_not_fit_are_refused(tmp_path):
    file = write(tmp_path, "wide.csv")
    for names, match in (
        (["hug", "kick"], "--class-names lists 2 .not in the list: push"),
        (["a", "b", "c"], "lists 3"),
    ):
        with pytest.raises(UserError, match=match):
            import_predictions(
                file, tmp_path / "run", ImportOptions(class_names=write_lines(tmp_path / "n.txt", *names))
            )
    with pytest.raises(UserError, match="has 3 scores a clip, but --class-names has 2 class names"):
        import_predictions(write(tmp_path, "list.json"), tmp_path / "run",
                           ImportOptions(class_names=write_lines(tmp_path / "n.txt", "a", "b")))  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("a.json", b"[{}, 3]", "must be a list of objects|holds no clips"),
        ("a.json", b'{"results": [{"path": "a", "scores": [1, 0]}]}', "not lists of numbers, one a class"),
        ("a.json", b'[{"path": "a", "scores": [[1, 0], [0, 1]]}]', "not lists of numbers, one a class"),
        ("a.json", b'[{"path": "a", "scores": [1, 0]}', "ends within its list"),
        ("a.json", b"[" * 10000, "is not JSON"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.npy", pickle.dumps(3), "cannot be read"),
        ("a.npz", b"PK", "cannot be read"),
        ("a.csv", b"\xff\xfea\x00", "cannot be read"),
        ("a.xlsx", b"x", "must end in one of .csv"),
        ("a.pkl", b"\x80\x04K\x01.", "must hold a list of dicts"),
    ],
)
def test_a_damaged_file_is_refused(name, content, match, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=match):
        import_predictions(tmp_path / name, tmp_path / "run")


def test_arrays_of_objects_are_not_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", scores=np.array([{}], object))
    with pytest.raises(UserError, match="cannot be read"):
        import_predictions(tmp_path / "a.npz", tmp_path / "run")


def test_logits_labels_that_count_from_1_and_missing_scores(tmp_path):
    told: list[str] = []
    text = "path,label,score_a,score_b\nx,1,0,1.0986123\ny,2,0,-2\nz,2,nan,0\nw,,5,1"  # softmax of x: 1/4, 3/4
    options = ImportOptions(logits=True, notify=told.append)
    done = import_predictions(write_lines(tmp_path / "a.csv", text), tmp_path / "run", options)
    table = predictions(open_run(tmp_path / "run"))
    assert table["clip_id"].tolist() == ["w", "x", "y"] and table["label"].tolist() == ["", "a", "b"]
    assert table["scores"].iloc[1] == pytest.approx([0.25, 0.75])
    assert (done.clips, done.failures, done.labelled, done.accuracy) == (4, 1, 2, 0)
    assert failures(open_run(tmp_path / "run"))["clip_id"].tolist() == ["z"]
    assert "labels: as numbers from 1 (1 is 'a')" in told and "scores: the softmax of the file's" in told


@pytest.mark.parametrize(
    ("text", "scores", "said"),
    [
        ("path,label,pred,prob\na,x,x,0.5\nb,y,z,0.8", [[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], "spread evenly"),
        ("path,label,pred\na,x,x\nb,y,z", [[1, 0, 0], [0, 0, 1]], "confidence tells nothing"),
    ],
)
def test_predictions_alone_are_completed_and_said_to_be(text, scores, said, tmp_path, capsys):
    command = ["import-predictions", str(write_lines(tmp_path / "a.csv", text)), "-o", str(tmp_path / "run")]
    assert CliRunner().invoke(main, command).exit_code == 0
    run = open_run(tmp_path / "run")
    assert np.stack(list(predictions(run)["scores"])) == pytest.approx(np.array(scores))
    assert said in run.meta["imported"]["invented"]
    assert said in CliRunner().invoke(main, ["results", str(tmp_path / "run")], env={"COLUMNS": "400"}).output


def export(run: Path, file: Path, rename: str = "") -> pd.DataFrame:
    table, classes = predictions(open_run(run)), open_run(run).meta["classes"]
    scores = pd.DataFrame(np.stack(list(table["scores"])), columns=[f"score_{name}" for name in classes])
    out = pd.concat([table[["path", "label", "prediction"]], scores], axis=1)
    out.assign(path=rename + out["path"].map(lambda p: Path(p).parent.name + "/" + Path(p).name)).to_csv(
        file, index=False
    )
    return table


def test_a_run_that_is_exported_and_imported_is_the_same(recorded, scenes_folder, tmp_path):
    own = export(recorded, tmp_path / "a.csv", rename="/their/disk/")
    data = scenes_folder
    done = import_predictions(tmp_path / "a.csv", tmp_path / "run", ImportOptions(data=data, split="val",
                              annotation=annotation_of(recorded)))  # fmt: skip
    ours, theirs = open_run(recorded), open_run(tmp_path / "run")
    table, classes = predictions(theirs), ours.meta["classes"]
    assert done.clips == len(own) and table["clip_id"].tolist() == own["clip_id"].tolist()
    pd.testing.assert_frame_equal(summarize_accuracy(own, classes), summarize_accuracy(table, classes))
    pd.testing.assert_frame_equal(confusion_cells(own), confusion_cells(table))


def test_groups_are_those_of_a_column_of_the_dataset(recorded, scenes_folder, tmp_path):
    export(recorded, tmp_path / "a.csv")
    options = ["--data", scenes_folder, "--split", "val", "--label", open_run(recorded).meta["label"]]
    command = ["import-predictions", tmp_path / "a.csv", "-o", tmp_path / "run", *options, "--group", "appearance"]
    CliRunner().invoke(main, [str(word) for word in command], catch_exceptions=False)
    run = open_run(tmp_path / "run")
    assert predictions(run)["group"].nunique() == pd.read_csv(scenes_folder / "manifest.csv")["appearance"].nunique()
    assert run.meta["groups_from"] == "the column appearance"


def annotation_of(run: Path) -> Any:
    from sth_core.datasets.table import Annotation

    return Annotation(label=open_run(run).meta["label"])


def test_clips_that_do_not_match_are_counted_on_both_sides(recorded, scenes_folder, tmp_path):
    told: list[str] = []
    export(recorded, tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    table.loc[0, "path"] = "elsewhere/other.mp4"
    table.to_csv(tmp_path / "a.csv", index=False)
    options = ImportOptions(data=scenes_folder, annotation=annotation_of(recorded), notify=told.append)
    done = import_predictions(tmp_path / "a.csv", tmp_path / "run", options)
    assert done.clips == 23 and open_run(tmp_path / "run").meta["split"] == "val"
    assert any(line.startswith("1 rows left out") and "elsewhere/other.mp4" in line for line in told)
    assert any("(val) without scores" in line for line in told)
    table["path"] = [f"nowhere{i}" for i in range(24)]
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match="none of the 24 rows"):
        import_predictions(tmp_path / "a.csv", tmp_path / "other", options)


def test_the_folder_is_treated_as_everywhere(tmp_path, monkeypatch):
    command = ["import-predictions", str(write(tmp_path, "wide.csv")), "-o", str(tmp_path / "run")]
    assert CliRunner().invoke(main, command).exit_code == 0
    assert CliRunner().invoke(main, command).exit_code == 0
    other = CliRunner().invoke(main, [*command, "--name", "other"])
    assert other.exit_code == 2 and "holds another recording" in other.output
    assert CliRunner().invoke(main, [*command, "--name", "other", "--overwrite"]).exit_code == 0
    assert (tmp_path / "run" / ".replaced-1" / "run.json").is_file()
    (tmp_path / "keep" / "predictions").mkdir(parents=True)
    (tmp_path / "keep" / "predictions" / "part-00000.parquet").touch()
    kept = CliRunner().invoke(main, [*command[:2], "-o", str(tmp_path / "keep")])
    assert kept.exit_code == 2 and (tmp_path / "keep" / "predictions" / "part-00000.parquet").exists()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("analysis.runs.importing.prediction_table", stop)
    with pytest.raises(KeyboardInterrupt):
        import_predictions(tmp_path / "wide.csv", tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir() if not path.name.startswith(".")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.rpartition("/")[2] or "attention")
def test_every_page_takes_an_imported_run_beside_a_recorded_one(page, recorded, scenes_folder, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copytree(recorded, runs / "ours")
    export(recorded, tmp_path / "a.csv")
    options = ImportOptions(data=scenes_folder, annotation=annotation_of(recorded), name="theirs")
    import_predictions(tmp_path / "a.csv", runs / "theirs", options)
    monkeypatch.setenv("STH_ROOTS", str(scenes_folder))
    query = {"a": "ours", "b": "theirs"} if page == COMPARE else {"run": "theirs"} if page else {}
    app = open_page(runs, monkeypatch, page, **query)
    if page == CLIP:
        assert "Grad-CAM needs a network; these predictions were imported from a.csv" in words(app)
    if page == COMPARE:
        assert "24 clips" in words(app)
    assert not app.error


@pytest.mark.parametrize(
    ("text", "confidence", "bars"),
    [
        ("path,label,pred\na.mp4,x,x\nb.mp4,y,z", "", 0),
        ("path,label,pred,prob\na.mp4,x,x,0.5\nb.mp4,y,z,0.8", "confidence 80.0%", 1),
        ("path,label,score_x,score_y,score_z\na.mp4,x,0.5,0.25,0.25\nb.mp4,y,0.1,0.1,0.8", "confidence 80.0%", 3),
    ],
)
def test_the_clip_page_shows_no_score_that_was_filled_in(text, confidence, bars, tmp_path, monkeypatch):
    import_predictions(write_lines(tmp_path / "a.csv", text), tmp_path / "runs" / "run")
    monkeypatch.setenv("STH_ROOTS", str(tmp_path / "elsewhere"))
    app = open_page(tmp_path / "runs", monkeypatch, CLIP, run="run", clip="b.mp4")
    shown = words(app)
    assert (confidence in shown) if confidence else ("confidence 1" not in shown and "Confidence" not in shown)
    assert sum(str(h.proto.body).count('class="bar"') for h in app.get("html")) == bars
    assert ("is known: the rest" in shown or "No scores are known" in shown) == (bars < 3)
    assert "The video is not there: the run names it b.mp4" in shown and "outside of the folders" not in shown
    gallery = words(open_page(tmp_path / "runs", monkeypatch, PREDICTIONS, run="run"))
    assert "The video is not there: the run names it b.mp4" in gallery and ("(80%)" in gallery) == bool(confidence)


def test_the_example_of_the_documentation_is_what_happens(tmp_path, monkeypatch):
    text = (Path(__file__).parent.parent / "docs" / "imported-predictions.md").read_text(encoding="utf-8")
    table, command, output = re.findall(r"^```\w+\n(.*?)^```", text, re.M | re.S)[:3]
    (tmp_path / "theirs.csv").write_text(table, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, shlex.split(command)[1:]).output == output
