"""`sth doctor`: what is there, what is missing, and what mends it."""

import builtins
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from analysis.report.image_export import why_no_pictures
from sth_core.training_board import NEEDS, training_board
from workbench import doctor
from workbench.cli import main
from workbench.doctor import MISSING, NOTE, OK, Diagnosis

METADATA = ["torch>=2.6", "numpy>=2", "triton>=3; platform_system == 'Nowhere'", 'kaleido>=1; extra == "export"']
VERSIONS = {"sth-workbench": "0.2.0", "torch": "2.5.1+cpu", "numpy": "2.4.0"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions of an installation; what is taken out of it is not installed."""
    versions = dict(VERSIONS)

    def version(name: str) -> str:
        if name not in versions:
            raise doctor.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "requires", lambda _: METADATA)
    return versions


def state_of(name: str, found: Any) -> Diagnosis:
    [one] = [one for one in found if one.what == name]
    return one


def test_old_and_absent_packages_are_named_with_the_command(installed: dict[str, str]) -> None:
    del installed["numpy"]
    found = list(doctor.package_findings())
    assert [one.what for one in found] == ["sth-workbench", "torch", "numpy"]  # neither an extra nor of another system
    assert state_of("torch", found) == Diagnosis(
        "torch", "2.5.1+cpu (needs >=2.6)", MISSING, "pip install 'torch>=2.6'"
    )
    assert state_of("numpy", found) == Diagnosis(
        "numpy", "not installed (needs >=2)", MISSING, "pip install 'numpy>=2'"
    )


def test_an_extra_that_is_not_installed_is_a_note_that_says_what_does_not_work(installed: dict[str, str]) -> None:
    one = state_of("[export]", doctor.extra_findings())
    assert (one.state, one.mend) == (NOTE, "pip install 'sth-workbench[export]'") and "PDF" in one.found
    installed["kaleido"] = "1.2"
    assert state_of("[export]", doctor.extra_findings()) == Diagnosis("[export]", "kaleido 1.2")
    installed["kaleido"] = "0.2"
    assert state_of("[export]", doctor.extra_findings()).state == NOTE


def test_a_decoder_that_is_not_there_is_named_with_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    real = av.codec.Codec

    def without_vp9(name: str, mode: str) -> Any:
        if name in ("vp9", "libx264"):
            raise ValueError(name)
        return real(name, mode)

    assert [one.state for one in doctor.codec_findings()] == [OK, OK]
    monkeypatch.setattr(av.codec, "Codec", without_vp9)
    decoders, encoder = doctor.codec_findings()
    assert decoders.state == encoder.state == MISSING
    assert "does not decode vp9 (webm)" in decoders.found and "sth demo" in encoder.found


def test_a_full_or_read_only_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert [one.state for one in doctor.disk_findings(tmp_path / "new")] == [OK] * 3
    assert not (tmp_path / "cache").exists()  # nothing is written
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1e8}))
    assert [one.state for one in doctor.disk_findings(tmp_path)] == [NOTE] * 3
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert [one.state for one in doctor.disk_findings(tmp_path)] == [MISSING, NOTE, MISSING]


def test_a_damaged_shipped_network_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from workbench import demo

    assert doctor.network_finding() == Diagnosis("shipped networks", "8 open")
    monkeypatch.setattr(demo, "SHIPPED_NETWORKS", tmp_path)
    one = doctor.network_finding()
    assert one.state == MISSING and "motion-rgb-p4.safetensors" in one.found


def test_the_command_prints_what_mends_and_its_exit_code_says_whether_all_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [Diagnosis("a", "1"), Diagnosis("bb", "none", NOTE, "pip install b")]
    monkeypatch.setattr(doctor, "findings", lambda folder: iter(found))
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 0
    assert done.output == "ok       a   1\nnote     bb  none\n             -> pip install b\n0 missing, 1 note\n"
    found.append(Diagnosis("c", "none", MISSING, "pip install c"))
    done = CliRunner().invoke(main, ["doctor", "--json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    assert told["ok"] is False and told["findings"][2] == {
        "what": "c", "found": "none", "state": "missing", "mend": "pip install c",
    }  # fmt: skip


def test_what_needs_a_package_that_is_missing_is_not_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails() -> Diagnosis:
        raise ImportError("No module named 'plotly'")

    monkeypatch.setattr(doctor, "browser_finding", fails)
    monkeypatch.setattr(doctor, "network_finding", fails)
    assert [one.found for one in doctor.findings(tmp_path)][-2:] == ["not looked at: No module named 'plotly'"] * 2


def test_here_nothing_is_missing() -> None:
    done = CliRunner().invoke(main, ["doctor", "--json"])
    states = {one["what"]: one for one in json.loads(done.stdout)["findings"]}
    assert [one for one in states.values() if one["state"] != OK and not one["mend"]] == []
    assert states["decoders"]["state"] == states["shipped networks"]["state"] == OK


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = builtins.__import__

    def refuse(name: str, *arguments: Any, **more: Any) -> Any:
        if name == package or name.startswith(f"{package}."):
            raise ImportError(f"No module named {package!r}")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [*sys.modules]:
        if name == package or name.startswith((f"{package}.", "torch.utils.tensorboard")):
            monkeypatch.delitem(sys.modules, name)


def test_pictures_without_kaleido_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "kaleido")
    assert "pip install 'sth-workbench[export]'" in why_no_pictures()


def test_training_without_tensorboard_says_so_once_and_writes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "tensorboard")
    told: list[str] = []
    with training_board(tmp_path / "board", 0, told.append) as board:
        board("loss", 1.0, 1)
        board("loss", 0.5, 2)
    assert told == [NEEDS] and not (tmp_path / "board").exists()
