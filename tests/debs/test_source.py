"""The source package of each release: what the table says, whoever checks it out and when."""

import dataclasses
import os
import stat
from pathlib import Path

import pytest
from debian.changelog import Changelog
from debian.deb822 import Deb822

from common.errors import ConfigError
from debs.releases import DEBS, find_release
from debs.source import changelog_of, control_of, digest_of, lay_out
from tests.debs.conftest import EPOCH, RELEASES, Laid

CONTROL = (DEBS / "debian" / "control").read_text()


@pytest.mark.parametrize("release", RELEASES)
def test_control_parses_and_asks_for_nothing_more(release: str) -> None:
    text = control_of(find_release(release), CONTROL)
    assert "${cros:" not in text
    sections = list(Deb822.iter_paragraphs(text))
    assert sections[0]["Source"] == "cros-guest-tools"
    for package in sections[1:]:
        assert package["Architecture"] == "all"
        assert package["Description"].count("\n") >= 1, f"{package['Package']} has no long description"


def test_a_package_a_release_is_without_is_left_out() -> None:
    assert "Package: cros-pipe-config\n" in CONTROL
    assert "Package: cros-pipe-config\n" not in control_of(find_release("bullseye"), CONTROL)


def test_a_table_that_leaves_out_what_is_not_there_is_refused() -> None:
    release = dataclasses.replace(find_release("bookworm"), without=("cros-nothing",))
    with pytest.raises(ConfigError, match="without 'cros-nothing'"):
        control_of(release, CONTROL)


def test_a_missing_substvar_is_refused() -> None:
    release = dataclasses.replace(find_release("bookworm"), substvars=())
    with pytest.raises(ConfigError, match=r"\[bookworm.substvars\] has no"):
        control_of(release, CONTROL)


def test_a_variant_that_is_not_there_is_refused(tmp_path: Path) -> None:
    release = dataclasses.replace(find_release("bookworm"), variants=("nothing",))
    with pytest.raises(ConfigError, match="there is no debs/variants/nothing"):
        lay_out(release, tmp_path / "tree", version="1", epoch=0, keys=b"")


def test_changelog_parses() -> None:
    log = Changelog(changelog_of(find_release("trixie"), version="72.1.2+deb13", epoch=EPOCH))
    assert (str(log.version), log.distributions, log.package) == ("72.1.2+deb13", "trixie", "cros-guest-tools")
    assert log.date == "Tue, 14 Nov 2023 22:13:20 +0000"


def test_every_package_has_its_files_only_where_there_is_a_package() -> None:
    packages = {section["Package"] for section in Deb822.iter_paragraphs(CONTROL) if "Package" in section}
    places = [DEBS / "files", *(DEBS / "variants").iterdir()]
    assert {path.name for place in places for path in place.iterdir()} <= packages | {"debian"}


@pytest.mark.parametrize("release", RELEASES)
def test_units_lie_where_the_release_wants_them(release: str, laid_out: Laid) -> None:
    files = laid_out(release) / "files"
    system = "usr/lib/systemd/system" if release == "trixie" else "lib/systemd/system"
    assert (files / "cros-sftp" / system / "cros-sftp.service").is_file()
    assert not list(files.rglob("*.in"))
    for path in files.rglob("*"):
        assert path.is_file() or any(path.iterdir()), f"{path} is empty"


def test_the_source_does_not_depend_on_umask_or_time(tmp_path: Path) -> None:
    digests = []
    for name, umask in (("a", 0o077), ("b", 0o002)):
        before = os.umask(umask)
        try:
            lay_out(find_release("bookworm"), tmp_path / name, version="1", epoch=EPOCH, keys=b"k")
        finally:
            os.umask(before)
        digests.append(digest_of(tmp_path / name))
        times = {path.lstat().st_mtime for path in (tmp_path / name).rglob("*")}
        assert times == {EPOCH}
    assert digests[0] == digests[1]


def test_the_digest_sees_content_mode_and_name(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    file.chmod(0o644)
    digests = {digest_of(tmp_path)}
    file.write_text("b")
    digests.add(digest_of(tmp_path))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    digests.add(digest_of(tmp_path))
    file.rename(tmp_path / "other")
    digests.add(digest_of(tmp_path))
    assert len(digests) == 4
