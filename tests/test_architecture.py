"""The architecture: which packages import which, without cycles; and a public name is defined in one module only."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {  # package: the packages that it may import, besides itself
    "sth_core": set(),
    "analysis": {"sth_core"},
    "workbench": {"sth_core", "analysis"},
    "app": {"sth_core", "analysis", "workbench"},
    "analysis.runs": set(),
    "analysis.statistics": {"analysis.runs"},
    "analysis.attention": {"analysis.statistics", "analysis.runs"},
    "analysis.explain": set(),
    "analysis.experiments": {"analysis.attention", "analysis.statistics", "analysis.runs", "analysis.explain"},
    "analysis.report": {
        "analysis.experiments", "analysis.attention", "analysis.statistics", "analysis.runs", "analysis.explain",
    },
}  # fmt: skip
PRODUCT = ("sth_core", "analysis", "workbench", "app")
SAME_NAME = {"main"}  # of entry points


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in [ROOT / "app.py", *(p for name in PRODUCT[:3] for p in (ROOT / name).rglob("*.py"))]
}


def imported_names(node: ast.AST) -> Iterator[str]:
    """What an import statement names: for `from a import b` both a.b and, if that is no module, a."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            yield name if name in TREES else node.module


def imports(module: str, *, at_import: bool = False) -> set[str]:
    """The modules that a module imports anywhere; with `at_import`, those that run when it is imported."""
    nodes = list(ast.walk(TREES[module]))
    if at_import:
        inner = {id(n) for f in nodes if isinstance(f, ast.FunctionDef | ast.Lambda) for n in ast.walk(f)}
        inner |= {
            id(n) for i in nodes if isinstance(i, ast.If) and "TYPE_CHECKING" in ast.dump(i.test) for n in ast.walk(i)
        }
        nodes = [node for node in nodes if id(node) not in inner]
    return {name for node in nodes for name in imported_names(node)} - {module}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def test_no_import_cycle() -> None:
    graph = {module: imports(module) & TREES.keys() for module in TREES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_go_in_one_direction(package: str) -> None:
    neighbours = [other for other in MAY_IMPORT if other.count(".") == package.count(".") and other != package]
    forbidden = [other for other in neighbours if other not in MAY_IMPORT[package]]
    wrong = [
        f"{module} imports {name}"
        for module in TREES if within(module, package)
        for name in imports(module) if any(within(name, other) for other in forbidden)
    ]  # fmt: skip
    assert not wrong


def test_only_the_workbench_imports_streamlit() -> None:
    wrong = [m for m in TREES if within(m, "sth_core") or within(m, "analysis")
             for name in imports(m) if within(name, "streamlit")]  # fmt: skip
    assert not wrong


@pytest.mark.parametrize(
    ("package", "others"),
    [
        (
            "sth_core.video",
            ("sth_core.errors", "sth_core.files", "sth_core.memory", "sth_core.stopping", "sth_core.values"),
        ),
        (
            "sth_core.datasets",
            (
                "sth_core.errors", "sth_core.files", "sth_core.outputs", "sth_core.prefetch", "sth_core.readers",
                "sth_core.resumable", "sth_core.shards", "sth_core.stopping", "sth_core.values", "sth_core.video",
            ),
        ),
    ],
)  # fmt: skip
def test_video_and_datasets_import_no_network(package: str, others: tuple[str, ...]) -> None:
    wrong = [
        f"{module} imports {name}"
        for module in TREES if within(module, package)
        for name in imports(module, at_import=True)
        if within(name, "sth_core") and not any(within(name, other) for other in (package, *others))
    ]  # fmt: skip
    assert not wrong


def test_video_needs_no_torch() -> None:
    wrong = [m for m in TREES if within(m, "sth_core.video")
             for name in imports(m, at_import=True) if within(name, "torch")]  # fmt: skip
    assert not wrong
    command = "import sys, sth_core.video; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True)


def test_recording_starts_without_what_takes_seconds_to_import() -> None:
    command = (
        "import sys, sth_core, workbench.demo, analysis.runs.recording, analysis.experiments.trust;"
        "slow = {'torch._dynamo', 'torchvision', 'captum', 'transformers', 'streamlit'} & sys.modules.keys();"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True)


def test_a_public_name_is_defined_in_one_module() -> None:
    where = defaultdict(list)
    for module, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].append(module)
    assert not {name: modules for name, modules in where.items() if len(modules) > 1 and name not in SAME_NAME}
