"""The documentation's site is built without a warning: every link and heading is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="the extra [docs] is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    start = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="workbench/networks/index.html"' in start
    assert "dense_kernel" in (tmp_path / "api.html").read_text(encoding="utf-8")  # of a docstring's class
    loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', start)
    assert loaded == []  # nothing from elsewhere
