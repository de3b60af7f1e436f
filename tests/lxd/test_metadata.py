"""The metadata half of an image: what LXD reads, the same bytes twice, the same content for Incus."""

import lzma
import tarfile
from pathlib import Path

import pytest
import yaml

from lxd.metadata import LXD_ARCHES, TEMPLATES, ImageName, metadata_yaml, write_metadata

NAME = ImageName(release="bookworm", arch="arm64", type="default")


def test_names() -> None:
    assert str(NAME) == "bookworm arm64 default"
    assert NAME.product == "debian:bookworm:arm64:default"
    assert NAME.folder == Path("bookworm/arm64/default")


def test_metadata_says_what_lxd_asks_for() -> None:
    read = yaml.safe_load(metadata_yaml(NAME, milestone=72, created=1700000000))
    assert read["architecture"] == "aarch64"
    assert read["creation_date"] == 1700000000
    assert read["properties"]["os"] == "Debian"
    assert read["properties"]["release"] == "bookworm"
    assert all(isinstance(value, str) for value in read["properties"].values())


@pytest.mark.parametrize("arch", LXD_ARCHES)
def test_every_architecture_has_lxds_word(arch: str) -> None:
    name = ImageName(release="trixie", arch=arch, type="default")
    assert yaml.safe_load(metadata_yaml(name, milestone=72, created=1))["architecture"] == LXD_ARCHES[arch]


def test_every_template_is_there_and_made_at_the_right_time() -> None:
    templates = yaml.safe_load(metadata_yaml(NAME, milestone=72, created=1))["templates"]
    assert {"/etc/hostname", "/etc/hosts"} < set(templates)
    assert {each["template"] for each in templates.values()} == {path.name for path in TEMPLATES.iterdir()}
    assert all(each["when"] == ["create", "copy"] for each in templates.values())


def test_the_tar_has_what_metadata_names(tmp_path: Path) -> None:
    write_metadata(NAME, tmp_path, milestone=72, created=1700000000)
    with tarfile.open(tmp_path / "lxd.tar.xz") as tar:
        members = {member.name: member for member in tar.getmembers()}
        text = tar.extractfile("metadata.yaml")
        assert text is not None
        templates = yaml.safe_load(text.read())["templates"]
    assert {f"templates/{each['template']}" for each in templates.values()} | {"metadata.yaml", "templates"} == set(
        members
    )
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 1700000000)}


def test_the_same_inputs_give_the_same_bytes_for_both_clients(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_metadata(NAME, tmp_path / folder, milestone=72, created=1700000000)
    contents = {path.read_bytes() for path in tmp_path.rglob("*.tar.xz")}
    assert len(contents) == 1
    assert lzma.decompress(contents.pop())
    write_metadata(NAME, tmp_path / "three", milestone=73, created=1700000000)
    assert len({path.read_bytes() for path in tmp_path.rglob("*.tar.xz")}) == 2
