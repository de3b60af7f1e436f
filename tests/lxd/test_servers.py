"""LXD and Incus: where their daemons are, and what to do where they are not."""

import dataclasses
import platform
from pathlib import Path

import pytest

from common.errors import LxdUnavailableError, ToolMissingError
from lxd.servers import Server
from tests.conftest import FakeTool


def without_it(server: Server, monkeypatch: pytest.MonkeyPatch, fakes: Path) -> None:
    """Look for a daemon where it is not."""
    monkeypatch.setenv("PATH", f"{fakes}:/usr/bin:/bin")
    kind = dataclasses.replace(server.kind, places=(), program=f"{server.kind.program}-nosuch")
    kind.find()


def test_a_daemon_outside_of_path_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "incusd"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert dataclasses.replace(Server.INCUS.kind, places=(str(tmp_path),)).find() == program


def test_a_missing_lxd_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(LxdUnavailableError, match="'lxd' is not installed") as caught:
        without_it(Server.LXD, monkeypatch, tmp_path)
    assert caught.value.hint == "apt-get install lxd lxcfs btrfs-progs"


SOURCE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/debian"
PACKAGES = "incus-base incus-client dnsmasq-base btrfs-progs"


@pytest.mark.parametrize(
    ("codename", "lines"),
    [
        (
            "bookworm",
            [
                f"echo '{SOURCE} bookworm-backports main' >/etc/apt/sources.list.d/backports.list && apt-get update",
                f"apt-get install -t bookworm-backports {PACKAGES}",
            ],
        ),
        ("trixie", [f"apt-get install {PACKAGES}"]),
    ],
)
def test_a_missing_incus_is_named_with_every_line_to_run(
    codename: str, lines: list[str], fake_tool: FakeTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = Path(fake_tool("apt-get", says="http://mirror.example/debian/")).parent / "fake-bin"
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"VERSION_CODENAME": codename})
    with pytest.raises(ToolMissingError, match="'incusd' is not installed") as caught:
        without_it(Server.INCUS, monkeypatch, fakes)
    assert [line.strip() for line in caught.value.hint.splitlines()] == lines
