"""Our own daemon leaves nothing behind, however it ends; a running one is used inside a project of ours."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from pylxd.exceptions import LXDAPIException

from common import tools
from common.errors import CommandError, DeadlineError, DiskFullError, LxdDiedError, LxdUnavailableError
from common.files import ROOT
from common.waiting import wait_until
from lxd import own, project
from lxd.client import connect, translated
from lxd.container import Container, import_image
from lxd.daemon import Lxd, lxd
from lxd.servers import Server
from tests.conftest import FakeTool
from tests.lxd.conftest import SplitImage
from tests.lxd.daemons import pid_of, processes_in

NOWHERE = Path("/nonexistent")
USER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lxd.container import Container, import_image
from lxd.daemon import lxd
from lxd.servers import Server

with lxd(server=Server(sys.argv[5]), directories=[], parent=Path(sys.argv[2])) as daemon:
    print("started", flush=True)
    client = daemon.connect()
    image = import_image(client, Path(sys.argv[3]), Path(sys.argv[4]))
    print("imported", flush=True)
    container = Container.create(client, "victim", image=image, devices={})
    container.start()
    container.wait_settled()
    print("running", flush=True)
    container.run(["sleep", "60"], timeout=60)
"""


def loops_of(parent: Path) -> list[str]:
    """The loop devices on a pool below `parent`."""
    inodes = {str(disk.stat().st_ino) for disk in parent.glob(f"{own.PREFIX}-*/{own.DATA}/disks/*")}
    listed = tools.capture(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-INO"]).splitlines()
    return [line.split()[0] for line in listed if line.split()[1] in inodes]


def runs(argv: str) -> bool:
    """Whether any process of this machine, of a container too, has this command line."""
    wanted = argv.replace(" ", "\0").encode() + b"\0"
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found.append((entry / "cmdline").read_bytes())
    return wanted in found


def cgroups_of(names: list[str]) -> list[Path]:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    roots = [Path(words[1]) for words in mounts if words[2] == "cgroup2"]
    return [root / name for root in roots for name in names if (root / name).exists()]


@pytest.mark.lxd
@pytest.mark.root
def test_our_own_daemon_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with lxd(server=server, directories=[], parent=tmp_path) as daemon:
        assert daemon.own
        assert daemon.connect().api.instances.get().json()["metadata"] == []
        assert processes_in(tmp_path)
        [loop] = loops_of(tmp_path)
        names = [place.name for place in tmp_path.iterdir()]
        assert cgroups_of(names)
    assert not processes_in(tmp_path)
    assert loop not in tools.capture(["losetup", "--list", "--noheadings", "--output", "NAME"]).split()
    assert not cgroups_of(names)
    assert not list(tmp_path.iterdir())


@pytest.mark.lxd
@pytest.mark.root
@pytest.mark.parametrize("moment", ["", "started", "imported", "running"])
def test_nothing_lives_on_after_sigkill(moment: str, server: Server, good_image: SplitImage, tmp_path: Path) -> None:
    argv: list[tools.Arg] = [sys.executable, "-c", USER, ROOT, tmp_path, good_image.metadata, good_image.rootfs]
    with tools.started([*argv, server]) as user:
        if moment:
            wait_until(lambda: moment in user.tail().splitlines() or not user.alive(), moment, timeout=120)
        else:
            wait_until(
                lambda: processes_in(tmp_path) or not user.alive(), "the daemon's namespaces", timeout=60, every=0.01
            )
        assert user.alive(), user.tail()
        names = [place.name for place in tmp_path.iterdir()]
        os.kill(user.pid, signal.SIGKILL)
        wait_until(lambda: not processes_in(tmp_path), "the daemon's processes to go", timeout=30)
        wait_until(lambda: not loops_of(tmp_path), "the loop device to go", timeout=30)
    with lxd(directories=[], parent=tmp_path):
        assert not [name for name in names if (tmp_path / name).exists()]
        assert not cgroups_of(names)


@pytest.mark.lxd
@pytest.mark.root
def test_a_daemon_that_dies_under_us(tmp_path: Path) -> None:
    def use() -> None:
        with lxd(directories=[], parent=tmp_path) as daemon:
            client = daemon.connect()
            os.kill(pid_of(tmp_path), signal.SIGKILL)
            client.api.instances.get()

    with pytest.raises(LxdDiedError, match="went away"):
        use()
    assert not processes_in(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.lxd
@pytest.mark.root
def test_a_daemon_that_dies_while_a_program_runs(good_image: SplitImage, tmp_path: Path) -> None:
    def kill() -> None:
        wait_until(lambda: runs("sleep 54321"), "the program in the container", timeout=60)
        os.kill(pid_of(tmp_path), signal.SIGKILL)

    def use() -> None:
        with lxd(directories=[], parent=tmp_path) as daemon, ThreadPoolExecutor(1) as pool:
            client = daemon.connect()
            image = import_image(client, good_image.metadata, good_image.rootfs)
            container = Container.create(client, "victim", image=image, devices={})
            container.start()
            container.wait_settled()
            pool.submit(kill)
            container.run(["sleep", "54321"], timeout=60)

    with pytest.raises(LxdDiedError):
        use()
    assert not list(tmp_path.iterdir())


@pytest.mark.lxd
@pytest.mark.root
def test_it_works_inside_the_namespaces_of_a_job_and_under_a_long_path(tmp_path: Path) -> None:
    parent = tmp_path / ("long" * 40)
    parent.mkdir()
    code = USER.split("    print", 1)[0] + "    print(daemon.connect().api.instances.get().json())"
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    argv: list[tools.Arg] = [*namespaces, sys.executable, "-c", code, ROOT, parent, "", "", Server.LXD]
    said = tools.capture(argv, timeout=120)
    assert "'metadata': []" in said
    assert not list(parent.iterdir())


def test_no_root_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LxdUnavailableError, match="needs root") as caught, lxd(directories=[NOWHERE], parent=tmp_path):
        pass
    assert "run as root" in caught.value.hint


@pytest.mark.root
def test_no_lxd_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LxdUnavailableError, match="'lxd' is not installed") as caught, lxd(directories=[]):
        pass
    assert "apt-get install lxd" in caught.value.hint


@pytest.mark.root
def test_an_lxd_that_cannot_start_shows_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "lxd"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho 'no database today' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(LxdUnavailableError, match="did not start") as caught, lxd(directories=[], parent=place):
        pass
    assert "no database today" in caught.value.details
    assert not list(place.iterdir())


@pytest.mark.lxd
@pytest.mark.root
def test_without_btrfs_a_directory_does(fake_tool: FakeTool, tmp_path: Path) -> None:
    fake_tool("mkfs.btrfs", exit_code=1)
    with lxd(directories=[], parent=tmp_path) as daemon:
        pool = daemon.connect().api.storage_pools[own.POOL].get().json()["metadata"]
        assert pool["driver"] == "dir"


@pytest.fixture
def users_daemon(server: Server, tmp_path: Path) -> Iterator[Path]:
    """A daemon as a user would have it, with nothing in it."""
    with own.daemon(tmp_path, server=server) as started:
        yield started.directory


def contents(daemon: Path, name: str = "default") -> dict[str, object]:
    client = connect(daemon, project=name)
    return {
        kind: client.api[kind].get().json()["metadata"]
        for kind in ("instances", "images", "networks", "profiles", "projects")
    }


@pytest.mark.lxd
@pytest.mark.root
def test_a_running_one_is_used_and_the_users_things_are_not_touched(
    users_daemon: Path, server: Server, good_image: SplitImage
) -> None:
    client = connect(users_daemon)
    image = import_image(client, good_image.metadata, good_image.rootfs)
    precious = Container.create(client, "precious", image=image, devices={})
    precious.start()
    before = contents(users_daemon)
    stale = f"{project.PREFIX}7"
    used = f"{project.PREFIX}8"
    for name in (stale, used):
        client.api.projects.post(
            json={"name": name, "config": {"features.images": "true", "features.profiles": "true"}}
        )
    with socket.socket(socket.AF_UNIX) as lock:
        lock.bind(f"\0{used}")
        with lxd(server=server, directories=[NOWHERE, users_daemon]) as ours:
            assert not ours.own
            assert not client.projects.exists(stale)
            ours_client = ours.connect()
            again = import_image(ours_client, good_image.metadata, good_image.rootfs)
            Container.create(ours_client, "precious", image=again, devices={}).start()
            assert_two_at_once_are_apart(users_daemon, ours)
        assert client.projects.exists(used)
        client.api.projects[used].delete()
    assert contents(users_daemon) == before
    assert precious.get(["echo", "still here"]) == "still here\n"


def assert_two_at_once_are_apart(directory: Path, first: Lxd) -> None:
    with lxd(server=first.server, directories=[directory]) as second:
        assert second.project != first.project
        assert second.connect().api.instances.get().json()["metadata"] == []
    assert len(first.connect().api.instances.get().json()["metadata"]) == 1


@pytest.mark.lxd
@pytest.mark.root
def test_a_running_one_without_a_pool_is_left_alone(users_daemon: Path, server: Server, tmp_path: Path) -> None:
    api = connect(users_daemon).api
    api.profiles["default"].put(json={"devices": {}})
    api.storage_pools[own.POOL].delete()
    with lxd(server=server, directories=[users_daemon], parent=tmp_path) as daemon:
        assert daemon.own


def test_what_requests_raises_becomes_ours() -> None:
    for raised, ours in (
        (requests.exceptions.ReadTimeout("60 s"), DeadlineError),
        (requests.exceptions.ConnectionError("gone"), LxdDiedError),
        (requests.exceptions.ChunkedEncodingError("cut"), LxdDiedError),
    ):
        with pytest.raises(ours), translated():
            raise raised


@pytest.mark.lxd
@pytest.mark.root
def test_what_lxd_refuses_is_quoted(users_daemon: Path) -> None:
    client = connect(users_daemon)
    with pytest.raises(CommandError, match="LXD refused: .*[Nn]ot [Ff]ound"), translated():
        client.api.instances["nosuch"].get()


class Full(LXDAPIException):  # type: ignore[misc]  # pylxd has no types
    """What LXD answers when its disk is full."""

    def __init__(self) -> None:
        Exception.__init__(self)

    def __str__(self) -> str:
        return "write /var/lib/lxd/images/lxd_build_1: no space left on device"


def test_a_full_disk_is_named() -> None:
    with pytest.raises(DiskFullError, match="LXD uses"), translated():
        raise Full
