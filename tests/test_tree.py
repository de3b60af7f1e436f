"""The tree holds together: folders depend downwards, builds have their files, one door to processes and environment."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.files import ROOT
from kokoro.config import load
from kokoro.flows import read_flows

LAYERS = {
    "common": set(),
    "debs": {"common"},
    "lxd": {"common"},
    "mesa": {"common"},
    "kokoro": {"common", "debs", "lxd", "mesa"},
    "scripts": {"common", "debs", "lxd", "mesa", "kokoro"},
    "tasks": {"common", "kokoro", "scripts"},
}  # fmt: skip
OURS = set(LAYERS)


def modules() -> Iterator[Path]:
    yield ROOT / "tasks.py"
    for top in ("common", "debs", "kokoro", "lxd", "mesa", "scripts"):
        yield from (path for path in sorted((ROOT / top).rglob("*.py")) if not path.name.endswith("_pb2.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_folders_depend_downwards_only(path: Path) -> None:
    top = path.relative_to(ROOT).parts[0].removesuffix(".py")
    upwards = (set(imports(path)) & OURS) - LAYERS[top] - {top}
    assert not upwards, f"{path.name} must not know {', '.join(sorted(upwards))}"


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_is_short_and_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), f"{path.name} has no docstring"


def test_the_environment_is_read_in_few_places() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if "mocks" not in path.parts and re.search(r"os\.(environ|getenv)", path.read_text())
    }
    assert readers <= {"common/tools.py", "common/progress.py", "kokoro/env.py"}


@pytest.mark.parametrize("name", sorted(read_flows().builds))
def test_a_build_has_its_three_files(name: str) -> None:
    config = load(ROOT / "kokoro" / f"{name}.cfg")
    script = ROOT / config.script
    assert script == ROOT / "kokoro" / f"{name}.sh"
    assert os.access(script, os.X_OK)
    assert f"./run invoke {name.replace('_', '-')}" in script.read_text()
    assert (ROOT / "kokoro" / f"{name}.py").is_file()
    assert config.timeout_mins, f"{name}.cfg has no deadline"


@pytest.mark.parametrize("cfg", sorted((ROOT / "kokoro").glob("*.cfg")), ids=lambda cfg: cfg.name)
def test_every_cfg_reads_without_a_warning(cfg: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(cfg)
    assert caplog.text == ""


def test_no_registry_and_no_path_of_this_machine_is_in_a_file() -> None:
    hosts = set()
    for sources in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        if sources.is_file():
            hosts |= set(re.findall(r"https?://([^/\s]+)", sources.read_text()))
    for path in [*modules(), *ROOT.glob("*.toml"), *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        text = path.read_text()
        for word in [*hosts, str(ROOT)]:
            assert word not in text, f"{path.relative_to(ROOT)} names {word}"
