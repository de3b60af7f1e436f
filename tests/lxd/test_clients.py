"""What each client finds in an index, by its own rules."""

from dataclasses import replace

import pytest

from lxd.clients import Client, find
from lxd.metadata import ImageName
from lxd.simplestreams import Images, Item, Product

NAME = ImageName(release="bookworm", arch="amd64", type="default")


def item(ftype: str, **more: str) -> Item:
    return Item(ftype=ftype, path=f"images/{ftype}", size=1, sha256="0" * 64, **more)


def version(fingerprint: str, *more: Item) -> dict[str, Item]:
    items = [
        item("lxd.tar.xz", combined_squashfs_sha256=fingerprint),
        item("incus.tar.xz", combined_squashfs_sha256=fingerprint),
        item("squashfs"),
        item("manifest"),
        *more,
    ]
    return {each.ftype: each for each in items}


def index(versions: dict[str, dict[str, Item]], **more: str) -> Images:
    return Images({"p": replace(Product.named(NAME), versions=versions, **more)})  # type: ignore[arg-type]


@pytest.mark.parametrize("client", Client)
def test_several_versions_are_found_the_newest_first(client: Client) -> None:
    found = find(index({"20261124_12:10": version("a"), "20261124_12:15": version("b")}), client)
    assert [(image.serial, image.fingerprint) for image in found] == [("20261124_12:15", "b"), ("20261124_12:10", "a")]
    assert "debian/bookworm" in found[0].aliases


def test_each_client_reads_its_own_metadata_only() -> None:
    items = version("a")
    del items["incus.tar.xz"]
    only_lxd = index({"20261124_12:10": items})
    assert len(find(only_lxd, Client.LXD)) == 1
    assert find(only_lxd, Client.INCUS) == ()


@pytest.mark.parametrize("client", Client)
@pytest.mark.parametrize("serial", ["2026112", "yesterday", "20261340_12:10"])
def test_a_serial_that_is_no_date_is_passed_over(client: Client, serial: str) -> None:
    assert find(index({serial: version("a")}), client) == ()


@pytest.mark.parametrize("client", Client)
def test_what_has_no_fingerprint_root_or_known_architecture_is_passed_over(client: Client) -> None:
    no_root = version("a")
    del no_root["squashfs"]
    assert find(index({"20261124_12:10": version("")}), client) == ()
    assert find(index({"20261124_12:10": no_root}), client) == ()
    assert find(index({"20261124_12:10": version("a")}, arch="vax"), client) == ()


@pytest.mark.parametrize("client", Client)
def test_the_squashfs_is_preferred_to_a_tarball(client: Client) -> None:
    items = version("a", item("root.tar.xz"))
    for name in ("lxd.tar.xz", "incus.tar.xz"):
        items[name] = replace(items[name], combined_rootxz_sha256="b")
    found = find(index({"20261124_12:10": items}), client)
    assert [(image.root, image.fingerprint) for image in found] == [("squashfs", "a"), ("root.tar.xz", "b")]


@pytest.mark.parametrize("client", Client)
def test_a_delta_is_known_by_the_fingerprint_of_its_base(client: Client) -> None:
    versions = {
        "20261124_12:10": version("a"),
        "20261124_12:15": version("b", item("squashfs.vcdiff", delta_base="20261124_12:10")),
    }
    newest, _ = find(index(versions), client)
    assert newest.deltas == {"a": "images/squashfs.vcdiff"}
    gone = index(versions).products["p"].without_versions({"20261124_12:10"})
    assert list(gone.versions) == ["20261124_12:15"]
    assert "squashfs.vcdiff" not in gone.versions["20261124_12:15"]
