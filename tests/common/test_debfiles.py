"""Package files before anything is made of them: their names, whether they are whole, and clashes."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common import tools
from common.debfiles import DebName, check_packages, collect, fault_of
from common.errors import ArtifactError, ConflictError, PackageError
from scripts.bench_apt_repo import make_deb

ARCHES = ("amd64", "arm64")
WORDS = st.text(alphabet="abz019+.-", min_size=1, max_size=8)


@given(WORDS.map("a{}".format), WORDS.map("1{}~".format), st.sampled_from(["all", "amd64", "kfreebsd-i386"]))
def test_a_name_survives_both_ways(package: str, version: str, arch: str) -> None:
    name = DebName(package, version, arch)
    assert DebName.parse(str(name)) == name


@given(st.text())
@example("a_1_all.deb\n")
@example("../ab_1_all.deb")
@example("ab_1:1_all.deb")
@example("ab_1_all.udeb")
@example("Ab_1_all.deb")
def test_any_other_name_is_refused(text: str) -> None:
    if text.isascii() and re.fullmatch(r"[a-z0-9][^_/:]+_[^_/:]+_[a-z0-9-]+\.deb", text):
        assert str(DebName.parse(text)) == text
        return
    with pytest.raises(PackageError, match="is not named PACKAGE_VERSION_ARCH.deb") as caught:
        DebName.parse(text)
    assert repr(text) in caught.value.what


def test_a_package_made_here_is_one_for_dpkg(tmp_path: Path) -> None:
    path = make_deb(tmp_path, "small", "1:2.0-1", "amd64", Depends="libc6")
    assert path.name == "small_2.0-1_amd64.deb"
    said = tools.capture(["dpkg-deb", "--field", path, "Package", "Version", "Depends"])
    assert said.splitlines() == ["Package: small", "Version: 1:2.0-1", "Depends: libc6"]
    assert "./usr/share/doc/small" in tools.capture(["dpkg-deb", "--contents", path])


def test_a_package_of_dpkg_is_whole(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: real\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: d\n"
    )
    (root / "file").write_text("odd")
    for kind in ("xz", "gzip", "zstd", "none"):
        path = tmp_path / "real_1_all.deb"
        tools.run(["dpkg-deb", f"-Z{kind}", "--root-owner-group", "--build", root, path], quiet=True)
        assert fault_of(path) == ""


@given(share=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_cut_anywhere_it_is_not_whole(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    path = make_deb(tmp_path_factory.getbasetemp(), "cut", Description="x" * 300)
    size = path.stat().st_size
    os.truncate(path, min(int(size * share), size - 2))  # the last byte may be padding
    assert fault_of(path)


@given(content=st.binary(max_size=200))
def test_no_bytes_break_it(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.deb"
    path.write_bytes(b"!<arch>\n" + content)
    assert fault_of(path)


def test_too_long(tmp_path: Path) -> None:
    path = make_deb(tmp_path, "long")
    path.write_bytes(path.read_bytes() + b"more than a member's padding, less than a header")
    assert "not a Debian package" in fault_of(path)


def test_all_faults_at_once(tmp_path: Path) -> None:
    cut = make_deb(tmp_path / "trixie-debs", "cut")
    os.truncate(cut, 200)
    other = make_deb(tmp_path / "trixie-debs", "other", arch="sparc")
    with pytest.raises(PackageError, match=r"is truncated.*\(and 1 more\)") as caught:
        check_packages({"trixie": [cut, other]}, arches=ARCHES)
    assert (
        "other_1.0_sparc.deb' is for architecture 'sparc', and the repository has amd64, arm64" in caught.value.details
    )


def test_two_versions_in_one_release(tmp_path: Path) -> None:
    files = [make_deb(tmp_path / "trixie-debs", "twice", version) for version in ("1.0", "2.0")]
    with pytest.raises(PackageError, match="'trixie' gets two versions of package 'twice'") as caught:
        check_packages({"trixie": files}, arches=ARCHES)
    assert "take the other away" in caught.value.hint
    check_packages({"bookworm": files[:1], "trixie": files[1:]}, arches=ARCHES)


def test_clash_with_mesa(tmp_path: Path) -> None:
    first = make_deb(tmp_path / "trixie-debs", "same")
    second = make_deb(tmp_path / "trixie_mesa_debs", "same", Description="other")
    with pytest.raises(ConflictError, match="'same_1.0_all.deb'") as caught:
        check_packages({"trixie": [first, second]}, arches=ARCHES)
    digests = [line.split()[0] for line in caught.value.details.splitlines()]
    assert len(set(digests)) == 2
    assert all(len(digest) == 64 for digest in digests)


def test_collect(tmp_path: Path) -> None:
    own = make_deb(tmp_path / "trixie-debs", "own")
    mesa = make_deb(tmp_path / "trixie_mesa_debs", "mesa")
    make_deb(tmp_path / "bookworm-debs", "not")
    (tmp_path / "trixie-debs" / "own_1.0.changes").touch()
    assert collect(tmp_path, "trixie") == (own, mesa)
    with pytest.raises(ArtifactError, match="'bullseye-debs' is missing"):
        collect(tmp_path, "bullseye")
