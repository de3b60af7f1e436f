"""What an image says of itself."""

import contextlib
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ImageError
from lxd.about import About
from lxd.metadata import ImageName, write_metadata


def pack(path: Path, text: bytes, name: str = "metadata.yaml") -> Path:
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return path


def test_the_images_we_build_say_it_all(tmp_path: Path) -> None:
    write_metadata(ImageName(release="trixie", arch="arm64", type="app_test"), tmp_path, milestone=73, created=1)
    for name in ("lxd.tar.xz", "incus.tar.xz"):
        assert About.read(tmp_path / name) == About(release="trixie", type="app_test", milestone="73", arch="arm64")


def test_an_image_that_says_nothing_is_a_default_one(tmp_path: Path) -> None:
    assert About.read(pack(tmp_path / "lxd.tar", b"architecture: x86_64\n")) == About(release="", type="default")


@pytest.mark.parametrize("text", [b"", b"- a list", b"{", b"properties: [1]", b"\xff"])
def test_rubbish_is_no_image(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ImageError, match="metadata") as caught:
        About.read(pack(tmp_path / "lxd.tar", text))
    assert caught.value.hint == "build it again"


def test_no_tar_and_no_metadata_are_no_image(tmp_path: Path) -> None:
    (tmp_path / "no.tar").write_bytes(b"no tar")
    for path in (tmp_path / "no.tar", pack(tmp_path / "other.tar", b"", "other.yaml")):
        with pytest.raises(ImageError, match="no LXD image"):
            About.read(path)


@given(text=st.binary(max_size=200))
def test_whatever_is_in_it_it_is_read_or_refused(text: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = pack(tmp_path_factory.mktemp("about") / "lxd.tar", text)
    with contextlib.suppress(ImageError):
        assert isinstance(About.read(path).release, str)
