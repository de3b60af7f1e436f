from pathlib import Path

import pytest

from common.errors import ArtifactError
from common.mirror import native_arch
from scripts import lxd_test


def image(root: Path, job: str, release: str, arch: str) -> Path:
    place = root / job / "artifacts" / "lxd" / release / arch / "default"
    place.mkdir(parents=True)
    (place / "rootfs.squashfs").touch()
    return place


def test_images_of_this_machines_architecture_are_found(tmp_path: Path) -> None:
    wanted = [image(tmp_path, "72/a", "bookworm", native_arch()), image(tmp_path, "72/b", "trixie", native_arch())]
    image(tmp_path, "72/c", "trixie", "riscv64")
    assert lxd_test.find_images(tmp_path) == wanted


def test_no_image_is_said_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=f"there is no image for {native_arch()}") as caught:
        lxd_test.find_images(tmp_path)
    assert caught.value.hint.startswith("./run invoke lxd-container --branch ")


def test_arguments_go_to_the_boot_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert lxd_test.main(["--list"]) == 0
    assert "sftp-serves" in capsys.readouterr().out
