"""The wrapper around the real reprepro: batches, what it would pass over in silence, and what it says with a number."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from debian.deb822 import Packages
from hypothesis import given
from hypothesis import strategies as st

from common import reprepro
from common.errors import BusyError, CommandError, ConfigError, ConflictError, DiskFullError, PackageError
from common.reprepro import Distribution, batches, check_listed, make_repository
from scripts.bench_apt_repo import make_deb
from tests.conftest import FakeTool

TRIXIE = Distribution(codename="trixie", arches=("amd64", "arm64"))


def make(out: Path, files: Sequence[Path]) -> list[Packages]:
    make_repository(out, [TRIXIE], {"trixie": files})
    with (out / "dists/trixie/main/binary-arm64/Packages").open("rb") as file:
        return list(Packages.iter_paragraphs(file, use_apt_pkg=False))


def test_the_paragraph() -> None:
    assert TRIXIE.paragraph().splitlines()[:6] == [
        "Origin: Google", "Label: cros-containers", "Suite: stable", "Codename: trixie",
        "Architectures: amd64 arm64", "Components: main",
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["", "two\nlines", "a # comment"])
def test_a_value_that_is_no_field(value: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a field"):
        Distribution(codename="trixie", arches=("amd64",), label=value)


def test_neither_section_nor_priority(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The ones that lack a field get it; the others keep theirs."""
    files = [
        make_deb(tmp_path / "trixie-debs", "bare", Section="", Priority=""),
        make_deb(tmp_path / "trixie-debs", "half", Section="libs", Priority=""),
        make_deb(tmp_path / "trixie-debs", "whole", Section="libs", Priority="extra"),
    ]
    made = {each["Package"]: (each["Section"], each["Priority"]) for each in make(tmp_path / "out", files)}
    assert made == {"bare": ("misc", "optional"), "half": ("libs", "optional"), "whole": ("libs", "extra")}
    assert "bare_1.0_all.deb has no Section field: taken as 'misc'" in caplog.text


def test_an_epoch_is_not_in_the_name(tmp_path: Path) -> None:
    [made] = make(tmp_path / "out", [make_deb(tmp_path / "trixie-debs", "epoch", "2:1.0")])
    assert made["Filename"].endswith("/epoch_1.0_all.deb")
    assert made["Version"] == "2:1.0"


def test_one_package_given_twice(tmp_path: Path) -> None:
    files = [make_deb(tmp_path / folder, "same") for folder in ("trixie-debs", "trixie_mesa_debs")]
    assert len(make(tmp_path / "out", files)) == 1


def test_a_misnamed_package_of_the_same_name(tmp_path: Path) -> None:
    """Two files are one package by their control files: reprepro finds other content, we name the liar."""
    honest = make_deb(tmp_path / "trixie-debs", "honest")
    liar = make_deb(tmp_path / "other", "honest", Description="other").rename(
        tmp_path / "trixie-debs" / "liar_1.0_all.deb"
    )
    with pytest.raises(PackageError, match=r"'liar_1.0_all.deb' is misnamed: .* it is 'honest_1.0_all.deb'"):
        make(tmp_path / "out", [honest, liar])
    assert not (tmp_path / "out").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"trixie-debs", "other"}


def test_a_control_file_that_cannot_be_read(tmp_path: Path) -> None:
    path = make_deb(tmp_path / "trixie-debs", "broken")
    content = path.read_bytes()
    at = content.index(b"control.tar.gz") + 60
    path.write_bytes(content[: at + 20] + b"\xff" * 30 + content[at + 50 :])
    with pytest.raises(PackageError, match="the control file of 'broken_1.0_all.deb' cannot be read"):
        make(tmp_path / "out", [path])
    assert not (tmp_path / "out").exists()


def test_many_packages_in_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reprepro, "ARGUMENT_BYTES", 700)
    files = [make_deb(tmp_path / "trixie-debs", f"pkg{number:02}") for number in range(30)]
    assert len(list(batches(files, limit=700))) > 3
    assert len(make(tmp_path / "out", files)) == 30


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=30).map(Path)), st.integers(min_value=1, max_value=200))
def test_batches_hold_everything_once(files: list[Path], limit: int) -> None:
    split = list(batches(files, limit=limit))
    assert [path for batch in split for path in batch] == files
    assert all(batch for batch in split)
    assert all(len(batch) == 1 or sum(len(bytes(path)) + 9 for path in batch) <= limit for batch in split)


def test_skipped_by_reprepro(tmp_path: Path) -> None:
    """reprepro says "Skipping inclusion" and 0; the listing tells."""
    with pytest.raises(PackageError, match="misnamed or skipped in 'trixie': 'old_1_all.deb'") as caught:
        check_listed(TRIXIE, [Path("old_1_all.deb")], "amd64 old_2_all.deb\narm64 old_2_all.deb\n")
    assert "old_2_all.deb" in caught.value.details
    check_listed(TRIXIE, [Path("old_1_all.deb")], "amd64 old_1_all.deb\narm64 old_1_all.deb\n")


def test_missing_for_one_architecture() -> None:
    with pytest.raises(PackageError, match="'all_1_all.deb'"):
        check_listed(TRIXIE, [Path("all_1_all.deb")], "amd64 all_1_all.deb\n")


@pytest.mark.parametrize(
    ("code", "says", "kind"),
    [
        (239, "The lock file exists", BusyError),
        (254, "already there with other md5sum", ConflictError),
        (77, "surprise", CommandError),
        (255, "write: No space left on device", DiskFullError),
    ],
)
def test_what_it_says_with_a_number(
    tmp_path: Path, fake_tool: FakeTool, code: int, says: str, kind: type[Exception]
) -> None:
    calls = fake_tool("reprepro", exit_code=code, says=says)
    with pytest.raises(kind) as caught:
        make(tmp_path / "out", [make_deb(tmp_path / "trixie-debs", "good")])
    assert says in str(caught.value)
    assert type(caught.value) is kind
    assert not (tmp_path / "out").exists()
    assert len(calls.read_text().splitlines()) == 1


def test_one_call_for_all_packages(tmp_path: Path, fake_tool: FakeTool) -> None:
    calls = fake_tool("reprepro")
    files = [make_deb(tmp_path / "trixie-debs", f"pkg{number}") for number in range(50)]
    with pytest.raises(PackageError, match="misnamed or skipped"):  # it lists nothing
        make(tmp_path / "out", files)
    included = [line for line in calls.read_text().splitlines() if " includedeb " in line]
    assert len(included) == 1
    assert included[0].count(".deb") == 50
