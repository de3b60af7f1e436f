"""Fixtures every test may use: fake programs on PATH, and a copy of this checkout to break."""

import fcntl
import json
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import settings

from common import tools
from common.files import ROOT
from kokoro.sources import Tree
from lxd.servers import Server
from tests.support import FLOW, Checkout, Finished, toy_build

FakeTool = Callable[..., Path]


def pytest_configure() -> None:
    """What the machine is busy with and how the tests were started changes no result."""
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")
    # What a shell starts in the background ignores Ctrl-C, and so would every program that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where pytest-xdist shares the tests out, those that share something stay with one worker.

    It is containers that are costly to make, or this machine's network, which some tests of tests/lxd look at.
    """
    for item in items:
        if item.get_closest_marker("mutants"):
            continue  # each worker has a daemon for its share
        group = str(item.path)
        if item.path.match("debs/test_lxd_*.py"):
            group = "guests"
        elif item.path.match("tests/lxd/*.py") and item.get_closest_marker("lxd"):
            group = "lxd"
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(params=[Server.LXD, pytest.param(Server.INCUS, marks=pytest.mark.incus)])
def server(request: pytest.FixtureRequest) -> Server:
    """LXD, and Incus in the nox session incus_test."""
    asked: Server = request.param
    return asked


@pytest.fixture
def fake_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTool:
    """Put a scripted program first on PATH and hand back the file its calls are written to."""
    bindir = tmp_path / "fake-bin"
    bindir.mkdir()
    monkeypatch.setenv("PATH", f"{bindir}:{os.environ['PATH']}")

    def make(name: str, *, exit_code: int = 0, says: str = "") -> Path:
        calls = tmp_path / f"{name}.calls"
        program = bindir / name
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$*" >>"{calls}"\ncat <<"SAID"\n{says}\nSAID\nexit {exit_code}\n'
        )
        program.chmod(0o755)
        return calls

    return make


def copy_of_this_checkout(place: Path) -> Checkout:
    """This checkout as it is on disk now, committed, in a path with a space; it shares our virtual environment."""
    tree = Tree(ROOT)
    path = place / "a checkout"
    tree.copy(tree.paths, path)
    tools.capture(["git", "init", "--quiet", "--initial-branch=main", path])
    made = Checkout(path, {"CROS_VENV": str(ROOT / ".venv"), "HOME": str(place)})
    made.commit()
    return made


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A copy of this checkout for one test, to change."""
    return copy_of_this_checkout(tmp_path)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy of this checkout that no test changes."""
    return copy_of_this_checkout(tmp_path_factory.mktemp("pristine"))


@pytest.fixture(scope="session")
def continuous(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Finished:
    """The README's first command has passed in this checkout: out/ has packages, repository and image of bookworm."""
    (ROOT / "out").mkdir(exist_ok=True)
    place = tmp_path_factory.getbasetemp()
    said = (place if worker_id == "master" else place.parent) / "continuous.json"
    # It is run once for all workers of pytest-xdist: the flow would refuse to run beside what their tests do here.
    with (ROOT / "out" / ".tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            said.write_text(json.dumps(asdict(Checkout(ROOT).run(*FLOW, timeout=3000))))
    finished = Finished(**json.loads(said.read_text()))
    assert finished.code == 0, finished.output
    return finished


@pytest.fixture
def toy(checkout: Checkout) -> Checkout:
    """A checkout whose builds are small shell steps: `left` and `right` hand on to `both`."""
    for cfg in (checkout.path / "kokoro").glob("*.cfg"):
        cfg.unlink()
    checkout.write(
        "kokoro/flows.toml",
        """
[common]
sources = ["run"]
[builds.left]
summary = "Left"
sources = ["kokoro/left.*"]
[builds.right]
summary = "Right"
sources = ["kokoro/right.*"]
needs = ["signing-key"]
[builds.both]
summary = "Both"
sources = ["kokoro/both.*"]
[flows.continuous]
summary = "Toy flow"
[flows.continuous.jobs]
left = []
right = []
both = ["left", "right"]
""",
    )
    toy_build(checkout, "left", "mkdir -p out/deep && echo left >out/deep/left.txt && echo no >out/left.log")
    toy_build(checkout, "right", "mkdir -p out && echo right >out/right.txt")
    toy_build(
        checkout,
        "both",
        'mkdir -p out && cat "$KOKORO_GFILE_DIR"/deep/left.txt "$KOKORO_GFILE_DIR"/right.txt >out/both.txt',
    )
    checkout.commit()
    return checkout
