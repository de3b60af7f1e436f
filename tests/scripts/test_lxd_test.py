from pathlib import Path

import pytest

from common.errors import ArtifactError, UsageError
from common.mirror import native_arch
from scripts import lxd_test
from tests.kokoro.test_env import GOOD


def image(root: Path, job: str, release: str, arch: str, kind: str = "default") -> Path:
    place = root / job / "artifacts" / "lxd" / release / arch / kind
    place.mkdir(parents=True)
    (place / "rootfs.squashfs").touch()
    return place


def test_images_of_this_machines_architecture_are_found(tmp_path: Path) -> None:
    wanted = [image(tmp_path, "72/a", "bookworm", native_arch()), image(tmp_path, "72/b", "trixie", native_arch())]
    image(tmp_path, "72/c", "trixie", "riscv64")
    assert lxd_test.find_images(tmp_path) == wanted


def test_arguments_narrow_them(tmp_path: Path) -> None:
    bookworm = image(tmp_path, "72/a", "bookworm", native_arch())
    tests = image(tmp_path, "72/a", "bookworm", native_arch(), "test")
    trixie = image(tmp_path, "72/b", "trixie", native_arch())
    foreign = image(tmp_path, "72/c", "trixie", "riscv64")
    assert lxd_test.find_images(tmp_path, release="trixie") == [trixie]
    assert lxd_test.find_images(tmp_path, image_type="default") == [bookworm, trixie]
    assert lxd_test.find_images(tmp_path, release="bookworm", image_type="test") == [tests]
    assert lxd_test.find_images(tmp_path, arch="riscv64") == [foreign]
    with pytest.raises(ArtifactError, match="no image for bullseye riscv64 below") as caught:
        lxd_test.find_images(tmp_path, release="bullseye", arch="riscv64")
    assert caught.value.hint.endswith("--release bullseye --arch riscv64")


def test_a_branch_narrows_them_to_its_milestone(tmp_path: Path) -> None:
    image(tmp_path, "72/a", "bookworm", native_arch())
    main = image(tmp_path, "74/a", "bookworm", native_arch())
    assert lxd_test.find_images(tmp_path, branch="main") == [main]
    with pytest.raises(ArtifactError, match="no image for trixie .* main below") as caught:
        lxd_test.find_images(tmp_path, branch="main", release="trixie")
    assert "--branch main --release trixie" in caught.value.hint
    with pytest.raises(UsageError, match="unknown branch 'nain'"):
        lxd_test.find_images(tmp_path, branch="nain")


def test_inside_a_build_there_is_one_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("KOKORO_GFILE_DIR", str(tmp_path))
    with pytest.raises(UsageError, match="branch 'main' is milestone 74, but the job is"):
        lxd_test.main(["--branch", "main"])


def test_flags_that_choose_images_are_refused_with_one_image(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--image-type", "--branch"):
        with pytest.raises(SystemExit):
            lxd_test.main(["results", "lxd.tar.xz", "rootfs.squashfs", flag, "test"])
        assert f"{flag} chooses nothing" in capsys.readouterr().err


def test_no_image_is_said_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"there is no image for {native_arch()}") as caught:
        lxd_test.find_images(tmp_path)
    assert caught.value.hint.startswith("./run invoke lxd-container --branch ")


def test_arguments_go_to_the_boot_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert lxd_test.main(["--list"]) == 0
    assert "sftp-serves" in capsys.readouterr().out
