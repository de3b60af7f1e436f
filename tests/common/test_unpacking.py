"""Archives that mean harm, or are broken: nothing of them gets out of its folder, and nothing half done stays."""

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ArtifactError, DiskFullError
from common.unpacking import unpack

EPOCH = 1_700_000_000
Member = tuple[str, dict[str, Any]]


def tar_of(path: Path, *members: Member, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, about in members:
            info = tarfile.TarInfo(name)
            content = about.pop("content", b"")
            for key, value in about.items():
                setattr(info, key, value)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def file(name: str, content: bytes = b"x", **about: int) -> Member:
    return name, {"content": content, "mode": 0o644, **about}


def folder(name: str, **about: int) -> Member:
    return name, {"type": tarfile.DIRTYPE, "mode": 0o755, **about}


def link(name: str, target: str, *, hard: bool = False) -> Member:
    return name, {"type": tarfile.LNKTYPE if hard else tarfile.SYMTYPE, "linkname": target}


def unpacked(tmp_path: Path, *members: Member) -> Path:
    target = tmp_path / "target"
    unpack(tar_of(tmp_path / "a.tar.gz", *members), target, top="app", epoch=EPOCH)
    return target


def test_files_folders_and_links_come_out(tmp_path: Path) -> None:
    target = unpacked(
        tmp_path, folder("app/"), file("app/bin/run", b"go", mode=0o755), link("app/run", "bin/run"),
        link("app/bin/up", "../bin/run"), link("app/bin/again", "app/bin/run", hard=True),
    )  # fmt: skip
    assert (target / "run").read_bytes() == (target / "bin/up").read_bytes() == b"go"
    assert (target / "bin/again").samefile(target / "bin/run")


def test_owners_modes_and_times_are_plain(tmp_path: Path) -> None:
    target = unpacked(
        tmp_path, folder("app", mode=0o777, uid=1000), file("app/a", mode=0o6777, uid=1000, mtime=5),
        file("app/b", mode=0o600, mtime=2 * EPOCH), folder("app/d", mode=0o700, mtime=7), file("app/d/e", mtime=9),
    )  # fmt: skip
    found = {path.relative_to(target).as_posix(): path.stat() for path in [target, *target.rglob("*")]}
    assert {name: stat.S_IMODE(about.st_mode) for name, about in found.items()} == {
        ".": 0o755, "a": 0o755, "b": 0o644, "d": 0o755, "d/e": 0o644,
    }  # fmt: skip
    assert {name: about.st_mtime for name, about in found.items()} == {
        ".": 0, "a": 5, "b": EPOCH, "d": 7, "d/e": 9,
    }  # fmt: skip
    assert {about.st_uid for about in found.values()} == {os.getuid()}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_compression_is_known(tmp_path: Path, mode: str) -> None:
    archive = tar_of(tmp_path / "a", file("app/x", b"content"), mode=mode)
    unpack(archive, tmp_path / "target", top="app", epoch=EPOCH)
    assert (tmp_path / "target/x").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([file("other/x")], "'other/x' is outside of 'app'"),
        ([file("app/../x")], "is outside of 'app'"),
        ([file("/app/x")], "is outside of 'app'"),
        ([link("app/l", "/etc/passwd")], "is a symlink to '/etc/passwd', outside of 'app'"),
        ([link("app/d/l", "../../x")], "is a symlink to '../../x', outside of 'app'"),
        ([link("app/d", "."), file("app/d/x")], "'app/d/x' is below a symlink"),
        ([link("app/d", "e"), folder("app/d/e")], "is below a symlink"),
        ([link("app/h", "app/none", hard=True)], "is a link to 'app/none', which is no file before it"),
        ([link("app/h", "../etc/passwd", hard=True)], "is outside of 'app'"),
        ([file("app/x"), file("app/x")], "'app/x' is there twice"),
        ([link("app/x", "y"), file("app/x")], "'app/x' is there twice"),
        ([file("app")], "'app' is there twice"),
        ([file("app/x"), file("app/x/y")], "File exists"),
        ([("app/n", {"type": tarfile.CHRTYPE})], "'app/n' is a device or a pipe"),
        ([("app/n", {"type": tarfile.FIFOTYPE})], "'app/n' is a device or a pipe"),
        ([], "has no folder 'app'"),
    ],
)
def test_what_means_harm_is_refused_and_nothing_stays(tmp_path: Path, members: list[Member], said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        unpacked(tmp_path, *members)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = tar_of(tmp_path / "whole", file("app/x", os.urandom(100_000)))
    cut = tmp_path / "cut"
    cut.write_bytes(whole.read_bytes()[:50_000])
    with pytest.raises(ArtifactError, match=r"^https://x/y cannot be unpacked"):
        unpack(cut, tmp_path / "target", top="app", epoch=EPOCH, source="https://x/y")
    assert not (tmp_path / "target").exists()


def test_a_full_disk_is_no_fault_of_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(DiskFullError):
        unpacked(tmp_path, file("app/x"))
    assert not (tmp_path / "target").exists()


NAMES = st.lists(st.sampled_from(["app", "a", "b", "..", ".", ""]), min_size=1, max_size=4).map("/".join)
MEMBERS = st.lists(
    st.one_of(
        st.builds(file, NAMES),
        st.builds(folder, NAMES),
        st.builds(link, NAMES, NAMES, hard=st.booleans()),
    ),
    max_size=6,
)


@given(MEMBERS)
def test_nothing_ever_gets_out(tmp_path_factory: pytest.TempPathFactory, members: list[Member]) -> None:
    place = tmp_path_factory.mktemp("x")
    (place / "b").mkdir()
    archive = tar_of(place / "a.tar", *members, mode="w")
    target = place / "b" / "b"
    try:
        unpack(archive, target, top="app", epoch=EPOCH)
    except ArtifactError:
        assert not target.exists()
    assert {path.relative_to(place).as_posix() for path in place.rglob("*") if target not in path.parents} <= {
        "a.tar", "b", "b/b",
    }  # fmt: skip
    assert archive.stat().st_nlink == 1


@given(st.binary(max_size=600))
def test_bytes_that_are_no_archive_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    place = tmp_path_factory.mktemp("x")
    (place / "a").write_bytes(content)
    with pytest.raises(ArtifactError):
        unpack(place / "a", place / "target", top="app", epoch=EPOCH)
