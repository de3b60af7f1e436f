"""Writing beside and renaming, digests, and temporary directories."""

import hashlib
import os
import stat
import time
from pathlib import Path

import pytest

from common.files import (
    ROOT,
    forget_old,
    keep_newest,
    remove_stale,
    secret_parent,
    sha256_of,
    workspace,
    write_atomically,
)


def test_root_is_the_checkout() -> None:
    assert (ROOT / "branches.toml").is_file()


def test_sha256_of(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "f").write_bytes(content)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755])
def test_write_atomically_sets_content_and_mode(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "new" / "file"
    write_atomically(target, "ü\n", mode=mode)
    assert target.read_bytes() == "ü\n".encode()
    write_atomically(target, b"\xff", mode=mode)
    assert target.read_bytes() == b"\xff"
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert list(target.parent.iterdir()) == [target]


def test_a_reader_who_has_it_open_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, "old")
    with target.open() as reader:
        write_atomically(target, "new")
        assert reader.read() == "old"
    assert target.read_text() == "new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(target, "\ud800")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_directory_in_its_place_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "file", "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_workspace_is_gone_afterwards(tmp_path: Path) -> None:
    with workspace("job", parent=tmp_path) as place:
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert place.parent == tmp_path
        (place / "deep").mkdir()
        (place / "deep" / "file").touch()
    with pytest.raises(ZeroDivisionError), workspace("job", parent=tmp_path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_secrets_go_to_memory() -> None:
    place = secret_parent()
    if place is None:
        pytest.skip("this machine has no /dev/shm")
    line = next(line for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1] == str(place))
    assert line.split()[2] == "tmpfs"


def test_a_stale_workspace_is_told_from_one_in_use(tmp_path: Path) -> None:
    stale = tmp_path / ".left-by-a-killed-run"
    stale.mkdir()
    (stale / "half").write_text("half")
    with workspace(".used", parent=tmp_path) as used:
        remove_stale(tmp_path, ".*")
        assert used.is_dir()
        assert not stale.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_has_used_for_long_is_forgotten(tmp_path: Path) -> None:
    for name, days in (("used", 1), ("old", 15)):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.tar").touch()
        for path in (tmp_path / name, tmp_path / f"{name}.tar"):
            os.utime(path, (time.time() - days * 86400,) * 2)
    forget_old(tmp_path, "*")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["used", "used.tar"]


def test_what_goes_meanwhile_is_no_reason_to_stop(tmp_path: Path) -> None:
    """As when another run renames what it has downloaded; a link to nowhere looks the same, every time."""
    for name in ("a", "m", "z"):
        (tmp_path / name).symlink_to("gone")
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (0, 0))
    forget_old(tmp_path, "*")
    assert not (tmp_path / "old").exists()


def test_the_newest_of_a_cache_are_kept(tmp_path: Path) -> None:
    for age, name in enumerate(("new.tar", "older.tar", "oldest.tar", "other.deb")):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    keep_newest(tmp_path, "*.tar", 2)
    assert {path.name for path in tmp_path.iterdir()} == {"new.tar", "older.tar", "other.deb"}
    keep_newest(tmp_path, "*.tar", 2)
    assert len(list(tmp_path.iterdir())) == 3
