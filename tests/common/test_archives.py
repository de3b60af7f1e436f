"""Downloaded packages: kept for the next run, shared by runs at the same time, ours never."""

import os
from pathlib import Path

import pytest

from common.archives import archives, version_of
from common.mirror import Mirror

MIRROR = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")
OTHER = Mirror("http://other.example/debian", "http://other.example/debian-security")
DEB = "fio_1%3a3.33-3_amd64.deb"


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def test_the_version_is_read_from_the_files_name() -> None:
    assert version_of(DEB) == ("fio", "1:3.33-3")
    assert version_of("odd.deb") == ("odd", "")


def test_the_next_run_finds_what_was_downloaded(tmp_path: Path) -> None:
    with archives(tmp_path, MIRROR) as first:
        assert names(first) == {"partial"}
        (first / DEB).write_text("a package")
        (first / "partial" / "half.deb").write_text("half a package")
        with archives(tmp_path, MIRROR) as at_the_same_time:
            assert names(at_the_same_time) == {"partial"}
            (at_the_same_time / DEB).write_text("the same package")
    with archives(tmp_path, MIRROR) as second:
        assert names(second) == {"partial", DEB}
        assert (second / DEB).read_text() == "the same package", "the first to be finished"
        assert names(second / "partial") == set()
    assert not first.exists()
    with archives(tmp_path, OTHER) as another:
        assert names(another) == {"partial"}


def test_a_failed_run_keeps_what_it_has(tmp_path: Path) -> None:
    def fail() -> None:
        with archives(tmp_path, MIRROR) as place:
            (place / DEB).write_text("a package")
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        fail()
    with archives(tmp_path, MIRROR) as place:
        assert DEB in names(place)


def test_our_own_packages_are_not_kept(tmp_path: Path) -> None:
    with archives(tmp_path, MIRROR, ours={("fio", "1:3.33-3")}) as place:
        (place / DEB).write_text("made of another commit next time")
    with archives(tmp_path, MIRROR) as place:
        assert names(place) == {"partial"}


def test_old_packages_and_what_a_killed_run_left_are_removed(tmp_path: Path) -> None:
    with archives(tmp_path, MIRROR) as place:
        (place / DEB).write_text("a package")
        shelf = place.parent
    (shelf / ".run-killed").mkdir()
    os.utime(shelf / DEB, (0, 0))
    with archives(tmp_path, MIRROR) as place:
        assert names(place) == {"partial"}
    assert names(shelf) == set()
