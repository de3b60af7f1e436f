"""Layers over a squashfs: what they show together, and that nothing of them outlives us."""

import os
import signal
import sys
from pathlib import Path

import pytest

from common import tools
from common.errors import CommandError
from common.files import ROOT
from common.layers import Root, stacked
from common.namespaces import contained
from common.waiting import wait_until

pytestmark = pytest.mark.root
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep
HELD = """
import signal
import sys
from pathlib import Path
from common.layers import stacked
place = Path(sys.argv[2])
with stacked(Path(sys.argv[1]), place) as stack:
    stack.add("one")
    print(stack.pid, flush=True)
    signal.pause()
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A squashfs with a folder, two files and a link between them."""
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    for name in ("kept", "removed"):
        (root / "folder" / name).write_text(name)
    (root / "link").symlink_to("folder/kept")
    squashfs = tmp_path / "a base, with: odd\\name.squashfs"
    tools.run(["mksquashfs", root, squashfs, "-quiet", "-no-progress"], quiet=True)
    return squashfs


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "a place, with: odd=name"
    place.mkdir()
    return place


def mounts() -> str:
    return Path("/proc/self/mounts").read_text()


def run(root: Root, script: str) -> None:
    tools.run(contained(["sh", "-c", script, "sh", root.inside], inside=root.pid), quiet=True)


def tree(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*")}


def test_each_layer_shows_those_below_it(base: Path, place: Path) -> None:
    before = mounts()
    with stacked(base, place) as stack:
        one = stack.add("one")
        run(one, 'rm "$1/folder/removed" && echo one >"$1/new"')
        two = stack.add("two")
        run(two, 'rm -r "$1/folder" && mkdir "$1/folder" && echo two >"$1/folder/other"')
        os.setxattr(
            two.path / "folder/other", "security.capability", bytes.fromhex("01000002" + "00200000" + "00" * 12)
        )
        assert tree(stack.base().path) == {"folder", "folder/kept", "folder/removed", "link"}
        assert tree(one.path) == {"folder", "folder/kept", "link", "new"}
        assert tree(two.path) == {"folder", "folder/other", "link", "new"}, "an opaque folder"
        assert mounts() == before, "only the other namespace has them"
        packed = place / "packed.squashfs"
        tools.run(["mksquashfs", two.path, packed, "-quiet", "-no-progress"], quiet=True)
    assert mounts() == before
    assert list((place / "base").iterdir()) == []
    tools.run(["unsquashfs", "-quiet", "-dest", place / "out", packed], quiet=True)
    assert tree(place / "out") == {"folder", "folder/other", "link", "new"}
    assert os.listxattr(place / "out/folder/other") == ["security.capability"]
    assert os.listxattr(place / "out/folder") == [], "what overlayfs notes for itself stays with it"


def test_a_layer_that_failed_is_taken_away(base: Path, place: Path) -> None:
    with stacked(base, place) as stack:
        run(stack.add("one"), 'echo failed >"$1/new"')
        stack.drop()
        assert not (place / "one").exists()
        assert tree(stack.add("one").path) == {"folder", "folder/kept", "folder/removed", "link"}


def test_what_is_no_squashfs_is_said_to_be_none(place: Path) -> None:
    (place / "bad").write_text("no squashfs")
    with pytest.raises(CommandError, match="cannot be mounted"), stacked(place / "bad", place):
        pass


def test_a_killed_run_leaves_no_mount_and_no_loop_device(base: Path, place: Path) -> None:
    before = mounts()
    with tools.started([sys.executable, "-c", HELD, base, place], cwd=ROOT) as process:
        pid = int(wait_until(process.tail, "the layers to be there", timeout=60))
        assert "squashfs" in Path(f"/proc/{pid}/mounts").read_text()
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), "the namespace to be gone", timeout=30)
    assert mounts() == before

    def loops() -> str:
        return tools.capture(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"])

    wait_until(lambda: base.name not in loops(), "the loop device to be free", timeout=30)
