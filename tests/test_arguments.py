"""What no argument of an `sth` command can be: it is refused in one sentence, and nothing is written."""

import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch

from sth_core.errors import UserError
from sth_core.network import devices_here, pick_device
from tests.test_cli import mistake
from workbench.cli import COMMANDS, main
from workbench.cli.kinds import FILE, FOLDER, PATH, RUNS, DeviceKind, NetworkKind, NumberKind, PathKind, TextKind
from workbench.serve import check_address


def parameters() -> Iterator[tuple[str, click.Parameter]]:
    """Every parameter of every command, but those of the benchmarks."""
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        inner = command.commands.values() if isinstance(command, click.Group) and name != "benchmark" else [command]
        for one in inner:
            yield from ((f"{name} {one.name} {parameter.name}", parameter) for parameter in one.params)


def test_every_parameter_is_of_a_kind_that_refuses_what_it_cannot_be() -> None:
    """No plain text, path or number but those of --set, which the recipe checks."""
    for where, parameter in parameters():
        kind = parameter.type
        if isinstance(kind, click.IntRange) or type(kind) is NumberKind:
            assert None not in (kind.min, kind.max), where
        else:
            allowed = PathKind | TextKind | DeviceKind | NetworkKind | click.Choice | type(click.BOOL)
            assert isinstance(kind, allowed) or parameter.name == "changes", where


@pytest.mark.parametrize("given", ["", " ", "a\0b", "a\nb", "a\x1bb", "a\udcffb"], ids=repr)
def test_no_path_is_empty_or_has_a_character_that_no_message_can_show(given: str) -> None:
    for _, parameter in parameters():
        if isinstance(parameter.type, PathKind):
            with pytest.raises(click.BadParameter, match=r"is empty; give the path|in it; choose another name"):
                parameter.type.convert(given, parameter, None)


@pytest.mark.parametrize("given", ["s3://bucket/runs", "s3:/bucket/runs", "memory://x", "https://a.b/c", "file:///tmp"])
def test_a_url_is_no_local_path_and_no_folder_is_made_of_it(given: str) -> None:
    for _, parameter in parameters():
        if isinstance(parameter.type, PathKind) and not parameter.type.remote:
            with pytest.raises(click.BadParameter, match="is a URL"):
                parameter.type.convert(given, parameter, None)
    assert RUNS.convert("memory://x", None, None) == Path("memory:/x")  # as `location` takes it


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        (FOLDER, "file", "is a file; give a folder"),
        (FILE, "folder", "is a folder; give a file"),
        (PATH, "file/below", "Not a directory"),
        (PATH, "loop", "symbolic links"),
        (PATH, "x" * 256, "File name too long"),
    ],
)
def test_what_is_there_must_be_of_the_kind(kind: PathKind, name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(click.BadParameter, match=sentence):
        kind.convert(str(tmp_path / name), None, None)


@pytest.mark.parametrize(
    "name", ["-o", "a b", "a,b", "'a\"", "[red]", "🙂", "e\u202ex", "con", "x" * 255, "s3:x", "..."]
)
def test_odd_names_are_paths(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    assert FOLDER.convert(name, None, None) == Path(name)


def test_a_folder_whose_name_looks_like_a_url_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("take:", "one").mkdir(parents=True)
    assert FOLDER.convert("take:/one", None, None) == Path("take:/one")


@pytest.mark.parametrize("given", ["nan", "inf", "-inf", "-1", "1e300", "", "one"])
def test_a_number_is_finite_and_in_its_range(given: str) -> None:
    for _, parameter in parameters():
        if isinstance(parameter.type, click.IntRange | click.FloatRange):
            with pytest.raises(click.BadParameter, match=r"is not in the range|is not a valid"):
                parameter.type.convert(given, parameter, None)


@pytest.mark.parametrize("name", ["meta", "cuda:99", "xla", "hpu", "vulkan", "", "cuda:-1", "cpu x", "a\0"])
def test_a_device_computes_or_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"^no device .* computes here(; possible: auto, cpu| \(did you mean 'cpu')"):
        pick_device(name)


@pytest.mark.parametrize(
    ("gpus", "other", "expected"),
    [(0, False, ["cpu"]), (1, False, ["cpu", "cuda", "cuda:0"]), (2, True, ["cpu", "cuda", "cuda:0", "cuda:1", "mps"])],
)
def test_the_devices_of_this_machine(gpus: int, other: bool, expected: list[str], monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.mps, "is_available", lambda: other, raising=False)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    assert devices_here() == expected


@pytest.mark.parametrize(("gpu", "name"), [(False, "cpu"), (True, "cuda")])
def test_a_gpu_is_taken_if_there_is_one(gpu: bool, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    empty = torch.empty

    def made(*size: int, device: str) -> torch.Tensor:
        asked.append(device)
        return empty(*size)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch, "empty", made)
    assert pick_device() == pick_device("auto") == torch.device("cpu") and asked == [name] * 2


def test_a_mistyped_device_is_recognised() -> None:
    with pytest.raises(UserError, match=r"^no device 'cpuu' computes here \(did you mean 'cpu'\?\)$"):
        pick_device("cpuu")


@pytest.mark.parametrize(
    "host", ["", "256.1.1.1", "not a host", "a\0b", "ä" * 100, "http://localhost", "localhost:8501", "[::1]", "1.2.3.4"]
)
def test_an_address_that_cannot_be(host: str) -> None:
    with pytest.raises(UserError, match=r"this machine cannot listen at .*; name another --host"):
        check_address(host, 8501)


def test_a_port_in_use_is_said_before_the_demo_is_made(tmp_path: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        port = one.getsockname()[1]
        assert f"port {port} is taken" in mistake("demo", "-o", tmp_path / "demo", "--port", port)
        assert f"port {port} is taken" in mistake("app", tmp_path / "runs", "--port", port)
    assert not list(tmp_path.iterdir())


COMMAND_MISTAKES = [
    ("record {network} --data {data} -o {out} --device meta", "no device 'meta' computes here"),
    ("train {recipe} --data {data} -o {out} --device cpuu", "did you mean 'cpu'?"),
    ("record {network} --data= -o {out}", "Invalid value for '--data': it is empty; give the path of a folder"),
    ("record {network} --data {data} --out=", "it is empty"),
    ("record {network} --data {data} -o {network}", "is a file; give a folder"),
    ("record {data} --data {data} -o {out}", "is a folder; give a file"),
    ("record {network} --data {data} -o {out} --label=", "it is empty; give a name, or leave the option out"),
    ("record {network} --data {data}", "Missing option '-o' / '--out'; see sth record --help"),
    ("trust {network} --data {data} -o {out} --seed -1", "-1 is not in the range 0<=x<=4294967295"),
    ("data flow {data} -o {out} --bound nan", "nan is not in the range 0<x<=1000"),
    ("app carrier-pigeon://coop/runs", "carrier-pigeon:// is not known; give a folder, or a URL"),
    ("app memory://nowhere", "memory://nowhere holds no run; a run is a folder with a run.json"),
    ("app {tmp}/runs --port 0", "0 is not in the range 1<=x<=65535"),
    ("results {network}", "is a file; give a folder"),
    ("complexity --csv {data}", "is a folder; give a file"),
]


@pytest.mark.parametrize(("command", "sentence"), COMMAND_MISTAKES)
def test_a_wrong_argument_is_one_sentence(
    command: str, sentence: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = checkpoint.parent
    places = {"network": checkpoint, "data": data, "out": tmp_path / "out", "tmp": tmp_path, "recipe": "ut_interaction"}
    assert sentence in mistake(*(word.format(**places) for word in command.split(" ")))
    assert not list(tmp_path.iterdir())
