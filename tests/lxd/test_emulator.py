"""A machine of another architecture: how it is started, what is said where it cannot be, and (slow) one that runs."""

import os
import signal
import sys
from pathlib import Path

import pytest

from common import tools
from common.errors import LxdUnavailableError, ToolMissingError, UsageError
from common.files import ROOT
from common.mirror import native_arch
from common.waiting import wait_until
from lxd import emulator
from lxd.daemon import lxd
from lxd.servers import Server
from lxd.vmroot import VmRoot
from tests.conftest import FakeTool

FOREIGN = "arm64" if native_arch() != "arm64" else "riscv64"
NO_ROOT = VmRoot(Path("/x/vmlinuz"), Path("/x/initramfs"), Path("/x/disk.ext4"))
USER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lxd.daemon import lxd

with lxd(arch="arm64", parent=Path(sys.argv[2])) as daemon:
    print(daemon.connect().host_info["environment"]["kernel_architecture"], flush=True)
    daemon.listen().accept()
"""


def test_the_machine_reaches_nothing_and_leaves_its_disk_as_it_is() -> None:
    argv = list(map(str, emulator.qemu_argv("qemu", NO_ROOT, port=2222, key="KEY", console=Path("/y/console"))))
    options = dict(zip(argv[1::2], argv[2::2], strict=False))
    assert options["-netdev"] == "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22"
    assert "snapshot=on" in options["-drive"]
    assert " cros.key=KEY" in options["-append"]


def test_an_architecture_that_nothing_emulates_is_named(tmp_path: Path) -> None:
    with pytest.raises(LxdUnavailableError, match="of 's390x' do not run here") as caught, lxd(arch="s390x"):
        pass
    assert caught.value.hint == "emulated are: arm64"


def test_a_missing_qemu_is_named_with_all_that_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(ToolMissingError, match="'qemu-system-aarch64' is not installed") as caught,
        emulator.machine("arm64", tmp_path, tmp_path),
    ):
        pass
    assert caught.value.hint == "apt-get install qemu-system-arm openssh-client cpio"


def test_there_is_no_incus_in_it() -> None:
    with pytest.raises(UsageError, match="no Incus in an emulated"), lxd(server=Server.INCUS, arch=FOREIGN):
        pass


def test_a_qemu_that_does_not_start_shows_its_last_words(
    fake_tool: FakeTool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_tool("qemu-system-aarch64", exit_code=1, says="no such machine")
    monkeypatch.setattr(emulator, "vm_root", lambda *_: NO_ROOT)
    with (
        pytest.raises(LxdUnavailableError, match="did not start") as caught,
        emulator.machine("arm64", tmp_path, tmp_path),
    ):
        pass
    assert "no such machine" in caught.value.details
    assert not list(tmp_path.glob("cros-lxd-*"))


def emulators(parent: Path) -> list[int]:
    """The processes of a machine below `parent`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            argv = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(parent).encode() in argv and argv.startswith((b"qemu", b"ssh", b"/usr/bin/qemu", b"/usr/bin/ssh")):
            found.append(int(entry.name))
    return found


@pytest.mark.emulated
@pytest.mark.root
@pytest.mark.lxd
@pytest.mark.mirror
@pytest.mark.timeout(3600)
@pytest.mark.skipif(native_arch() == "arm64", reason="arm64 is not emulated on arm64")
def test_an_emulated_machine_has_an_lxd_and_nothing_of_it_is_left_after_sigkill(tmp_path: Path) -> None:
    with tools.started([sys.executable, "-c", USER, str(ROOT), str(tmp_path)]) as user:
        wait_until(lambda: "aarch64" in user.tail() or not user.alive(), "the machine to run", timeout=3000)
        assert user.alive(), user.tail()
        assert len(emulators(tmp_path)) == 2
        os.kill(user.pid, signal.SIGKILL)
        wait_until(lambda: not emulators(tmp_path), "the machine to go", timeout=30)
