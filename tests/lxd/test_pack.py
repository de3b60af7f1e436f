"""Packing a root file system: the same bytes twice, nothing lost, nothing half done."""

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from common import tools
from common.errors import CommandError
from common.layers import stacked
from lxd.pack import SQUASHFS, TARBALL, pack, pack_tarball
from tests.common.aptparts import EPOCH

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep, as ping has it


def _tar(path: Path, *, mtime: int) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (("./bin/ping", b"ping" * 9999), ("./note", b"text")):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), mtime, 0o755
            info.pax_headers = {"SCHILY.xattr.user.note": "kept"}
            if name.endswith("ping"):
                info.pax_headers["SCHILY.xattr.security.capability"] = CAPABILITY.decode("latin-1")
            tar.addfile(info, io.BytesIO(content))


def test_packing_gives_the_same_bytes(tmp_path: Path) -> None:
    tar = tmp_path / "a root.tar"
    _tar(tar, mtime=EPOCH)
    for name in ("one", "two"):
        pack(tar, tmp_path / name / SQUASHFS, epoch=EPOCH)
    assert (tmp_path / "one" / SQUASHFS).read_bytes() == (tmp_path / "two" / SQUASHFS).read_bytes()
    assert [path.name for path in (tmp_path / "one").iterdir()] == [SQUASHFS]
    listed = tools.capture(["unsquashfs", "-UTC", "-lls", tmp_path / "one" / SQUASHFS])
    assert "drwxr-xr-x root/root" in listed
    assert "2023-11-14 22:13 squashfs-root\n" in listed


@pytest.mark.root
def test_packing_keeps_capabilities(tmp_path: Path) -> None:
    _tar(tmp_path / "root.tar", mtime=EPOCH)
    pack(tmp_path / "root.tar", tmp_path / SQUASHFS, epoch=EPOCH)
    tools.run(["unsquashfs", "-quiet", "-dest", tmp_path / "root", tmp_path / SQUASHFS], quiet=True)
    assert os.getxattr(tmp_path / "root/bin/ping", "security.capability") == CAPABILITY
    assert os.getxattr(tmp_path / "root/note", "user.note") == b"kept"


def test_a_broken_tar_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(Exception, match="mksquashfs exited with"):
        pack(tmp_path / "root.tar", tmp_path / "out" / SQUASHFS, epoch=EPOCH)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.root
def test_a_directory_is_packed_with_no_time_after_the_epoch(tmp_path: Path) -> None:
    root = tmp_path / "a root"
    (root / "folder").mkdir(parents=True)
    (root / "folder/new").write_text("newer than the epoch")
    (root / "folder/old").write_text("older")
    os.utime(root / "folder/old", (1000, 1000))
    os.setxattr(root / "folder/new", "security.capability", CAPABILITY)
    for name in ("one", "two"):
        pack(root, tmp_path / name, epoch=EPOCH)
        os.utime(root / "folder/new")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    tools.run(["unsquashfs", "-quiet", "-dest", tmp_path / "root", tmp_path / "one"], quiet=True)
    times = {path.name: int(path.stat().st_mtime) for path in (tmp_path / "root").rglob("*")}
    assert times == {"folder": EPOCH, "new": EPOCH, "old": 1000}
    assert os.getxattr(tmp_path / "root/folder/new", "security.capability") == CAPABILITY


@pytest.mark.root
def test_the_tarball_has_what_the_squashfs_has(tmp_path: Path) -> None:
    _tar(tmp_path / "root.tar", mtime=EPOCH)
    pack(tmp_path / "root.tar", tmp_path / SQUASHFS, epoch=EPOCH)
    for name in ("one", "two"):
        (tmp_path / name / "place").mkdir(parents=True)
        with stacked(tmp_path / SQUASHFS, tmp_path / name / "place") as stack:
            pack_tarball(stack.base(), tmp_path / name / TARBALL)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["place", TARBALL]
    assert (tmp_path / "one" / TARBALL).read_bytes() == (tmp_path / "two" / TARBALL).read_bytes()
    with tarfile.open(tmp_path / "one" / TARBALL) as tar:
        found = {member.name: member for member in tar}
        assert list(found) == [".", "./bin", "./bin/ping", "./note"]
        ping = tar.extractfile("./bin/ping")
        assert ping is not None
        assert ping.read() == b"ping" * 9999
    assert {member.mtime for member in found.values()} == {EPOCH}
    capability = found["./bin/ping"].pax_headers["SCHILY.xattr.security.capability"]
    assert capability.encode("utf-8", "surrogateescape") == CAPABILITY


@pytest.mark.root
def test_a_tarball_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    _tar(tmp_path / "root.tar", mtime=EPOCH)
    pack(tmp_path / "root.tar", tmp_path / SQUASHFS, epoch=EPOCH)
    (tmp_path / "place").mkdir()
    (tmp_path / "out").mkdir()
    with stacked(tmp_path / SQUASHFS, tmp_path / "place") as stack:
        lost = replace(stack.base(), inside=tmp_path / "nowhere")
        with pytest.raises(CommandError):
            pack_tarball(lost, tmp_path / "out" / TARBALL)
    assert list((tmp_path / "out").iterdir()) == []
