"""The mirror is the one apt uses; apt is a script here, and real once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from common import tools
from common.errors import ConfigError
from common.mirror import KEYRING, Mirror, native_arch

FakeTool = Callable[..., Path]


def test_archive_and_security_are_told_apart(fake_tool: FakeTool) -> None:
    calls = fake_tool(
        "apt-get", says="http://m.example/other/\nhttp://s.example/debian-security/\nhttp://m.example/debian/"
    )
    assert Mirror.of_this_machine() == Mirror("http://m.example/debian", "http://s.example/debian-security")
    assert "indextargets" in calls.read_text()


def test_security_is_guessed_where_apt_has_none(fake_tool: FakeTool) -> None:
    fake_tool("apt-get", says="http://m.example/debian/")
    assert Mirror.of_this_machine().security == "http://m.example/debian-security"


@pytest.mark.parametrize("says", ["", "http://m.example/ubuntu/", "http://m.example/notdebian/"])
def test_no_archive_is_refused(fake_tool: FakeTool, says: str) -> None:
    fake_tool("apt-get", says=says)
    with pytest.raises(ConfigError, match="no source that ends in /debian") as caught:
        Mirror.of_this_machine()
    assert "sources.list.d" in caught.value.hint


def test_suites_and_sources_of_a_release() -> None:
    mirror = Mirror("http://m.example/debian", "http://m.example/debian-security")
    assert mirror.suites("bookworm") == [
        ("http://m.example/debian", "bookworm"),
        ("http://m.example/debian", "bookworm-updates"),
        ("http://m.example/debian-security", "bookworm-security"),
    ]
    assert mirror.sources("bookworm")[0] == f"deb [signed-by={KEYRING}] http://m.example/debian bookworm main"


def test_native_arch() -> None:
    assert native_arch() == tools.capture(["dpkg", "--print-architecture"]).strip()


@pytest.mark.mirror
def test_this_machine_has_one() -> None:
    assert Mirror.of_this_machine().archive.startswith("http")
