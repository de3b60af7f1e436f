"""--keep-on-failure: a failed container can be entered with the command shown, and everything goes afterwards."""

import os
import pty
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from common import tools
from common.errors import CheckFailedError, CommandError, UsageError
from common.files import ROOT
from common.waiting import wait_until
from lxd import keep
from lxd.test import check_image
from tests.lxd.conftest import SplitImage

WAITS = """
from lxd.keep import check_terminal, wait_for_person
check_terminal()
wait_for_person(["enter so"])
print("over")
"""


def test_without_a_terminal_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="waits for somebody at a terminal"):
        keep.check_terminal()
    argv: list[tools.Arg] = [sys.executable, ROOT / "lxd" / "test.py", tmp_path, "a", "b", "--keep-on-failure"]
    with pytest.raises(CommandError, match="exited with 2") as caught:
        tools.run(argv, quiet=True)
    assert "without --keep-on-failure" in caught.value.details


@pytest.mark.parametrize("key", [b"\n", b"\x03", b"\x04"], ids=["Enter", "Ctrl-C", "Ctrl-D"])
def test_a_person_ends_the_wait(key: bytes) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        # A shell's background jobs ignore it, and so would this one.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.execve(sys.executable, [sys.executable, "-c", WAITS], {"PYTHONPATH": str(ROOT)})
    said = bytearray()

    def read() -> bool:
        """One more block, where there is one; True at the end, which Linux tells as an error."""
        if not select.select([terminal], [], [], 0.5)[0]:
            return False
        try:
            said.extend(os.read(terminal, 4096))
        except OSError:
            return True
        return False

    wait_until(lambda: read() or b"removes everything" in said, "the line that says how to go on", timeout=60, every=0)
    assert b"enter so" in said
    assert b"over" not in said
    os.write(terminal, key)
    wait_until(read, "the end of the wait", timeout=60, every=0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert b"over" in said


@pytest.mark.lxd
@pytest.mark.root
def test_the_command_enters_the_container_as_it_was_left(good_image: SplitImage, tmp_path: Path) -> None:
    seen = []

    def enter(lines: Sequence[str]) -> None:
        what, command = lines
        assert "sudo-asks-nothing failed in check-host" in what
        env = {"LXD_CONF": str(tmp_path / "lxc")}
        seen.append(tools.capture(["sh", "-c", command], stdin="loginctl list-users\n", env=env, timeout=60))

    # A small image has no sudo.
    only = ["sudo-asks-nothing", "user-is-in-groups"]
    with pytest.raises(CheckFailedError, match=r"1 of 4 boot checks failed: sudo-asks-nothing \(host\)"):
        check_image(good_image.metadata, good_image.rootfs, tmp_path, only=only, parent=tmp_path, keep=enter)
    [said] = seen
    assert "testuser" in said
    report = (tmp_path / "sponge_log.xml").read_text()
    assert "check-host is kept as sudo-asks-nothing left it" in report
    assert not list(tmp_path.glob("cros-lxd-*"))
