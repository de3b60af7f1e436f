"""The list of an image's packages, as a table and as a bill of materials."""

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st
from packageurl import PackageURL

from common.errors import ArtifactError
from lxd import sbom
from lxd.apps import load_apps
from lxd.contents import FILE, Package, installed, read_table, write_table
from lxd.metadata import ImageName

NAME = ImageName(release="bookworm", arch="amd64", type="app_test")
EPOCH = 1_700_000_000
VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
STATUS = """\
Package: libc6
Status: install ok installed
Source: glibc
Version: 2.36-9+deb12u14
Architecture: amd64
Installed-Size: 13001
Description: x
 .
 Package: y

Package: bash
Status: hold ok installed
Source: bash (5.2.15-2)
Version: 5.2.15-2+b13
Architecture: amd64

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: all

Package: half
Status: install ok half-installed
Version: 1
Architecture: all

Package: cros-guest-tools
Status: install ok installed
Version: 72.11316+deb12
Architecture: all
Source: cros-guest
"""
GOOGLE = frozenset({("cros-guest-tools", "72.11316+deb12"), ("libc6", "another version")})
PACKAGES = (
    Package(
        name="bash", version="5.2.15-2+b13", arch="amd64", origin="Debian", source="bash", source_version="5.2.15-2"
    ),
    Package(
        name="cros-guest-tools", version="72.11316+deb12", arch="all", origin="Google", source="cros-guest",
        source_version="72.11316+deb12",
    ),
    Package(
        name="libc6", version="2.36-9+deb12u14", arch="amd64", origin="Debian", source="glibc",
        source_version="2.36-9+deb12u14", size=13001,
    ),
)  # fmt: skip

words = st.from_regex(r"[a-z0-9][a-z0-9.+~-]{1,10}", fullmatch=True)
packages = st.builds(
    Package,
    name=words, version=words | st.just("1:2.3~rc1-4+b5"), arch=st.sampled_from(["all", "amd64"]),
    origin=st.sampled_from(["Google", "Debian"]), source=words, source_version=words, size=st.integers(0, 10**9),
)  # fmt: skip
lists = st.lists(packages, max_size=6, unique_by=lambda package: (package.name, package.arch)).map(
    lambda found: tuple(sorted(found))
)


def test_installed_packages_are_read_with_where_they_come_from() -> None:
    assert installed(STATUS, GOOGLE) == PACKAGES


@given(st.lists(st.tuples(words, words, st.sampled_from(["install ok installed", "deinstall ok config-files"]))))
def test_every_installed_package_is_listed(rows: list[tuple[str, str, str]]) -> None:
    status = "\n".join(
        f"Package: {name}\nStatus: {state}\nVersion: {version}\nArchitecture: all\n" for name, version, state in rows
    )
    found = [(each.name, each.version) for each in installed(status, frozenset())]
    assert found == sorted((name, version) for name, version, state in rows if state.endswith(" installed"))


@pytest.mark.parametrize(
    "damaged",
    [STATUS.replace("Version: 2.36", "Vers: 2.36"), STATUS.replace("13001", "many"), STATUS + "Foo: bar\n\nx: y"],
)
def test_a_damaged_status_is_refused(damaged: str) -> None:
    with pytest.raises(ArtifactError, match="the image's dpkg status is damaged"):
        installed(damaged, GOOGLE)


@settings(max_examples=30)
@given(lists)
def test_a_table_is_read_as_it_was_written(found: tuple[Package, ...]) -> None:
    assert read_table(write_table(found), "x") == found


def test_a_table_is_readable() -> None:
    lines = write_table(PACKAGES).splitlines()
    assert lines[0] == "package\tversion\tarchitecture\torigin\tsource\tsource version\tinstalled KiB"
    assert lines[3] == "libc6\t2.36-9+deb12u14\tamd64\tDebian\tglibc\t2.36-9+deb12u14\t13001"


@pytest.mark.parametrize(
    "text",
    ["", "x", write_table(PACKAGES)[:-3], write_table(PACKAGES) + "\n", write_table(PACKAGES).replace("13001", "x")],
)
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match="^gs://x is no list of packages"):
        read_table(text, "gs://x")


@settings(max_examples=5)
@given(lists)
def test_a_bill_of_materials_keeps_to_the_schema(found: tuple[Package, ...]) -> None:
    text = sbom.bill_of_materials(NAME, found, milestone=72, epoch=EPOCH, apps=load_apps())
    assert VALIDATOR.validate_str(text) is None
    purls = [PackageURL.from_string(part["purl"]) for part in json.loads(text)["components"] if "purl" in part]
    assert sorted((purl.name, purl.version, purl.qualifiers["arch"]) for purl in purls) == [
        (package.name, package.version, package.arch) for package in found
    ]


def test_a_bill_says_what_scanners_look_for() -> None:
    bill = json.loads(sbom.bill_of_materials(NAME, PACKAGES, milestone=72, epoch=EPOCH, apps=load_apps()))
    by_name = {part["name"]: part for part in bill["components"]}
    assert by_name["bash"]["purl"] == (
        "pkg:deb/debian/bash@5.2.15-2%2Bb13?arch=amd64&distro=bookworm&upstream=bash%405.2.15-2"
    )
    assert by_name["libc6"]["purl"].endswith("&upstream=glibc")
    assert by_name["cros-guest-tools"]["purl"].startswith("pkg:deb/google/cros-guest-tools@")
    assert (by_name["debian"]["type"], by_name["debian"]["version"]) == ("operating-system", "12")
    assert by_name["Android Studio"]["hashes"] == [{"alg": "SHA-256", "content": load_apps()[0].sha256}]
    assert bill["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert bill["metadata"]["component"]["name"] == "debian/bookworm/app_test"


def test_the_same_image_gives_the_same_bill_and_another_one_another_number() -> None:
    one, two, three = (
        sbom.bill_of_materials(NAME, found, milestone=72, epoch=EPOCH) for found in (PACKAGES, PACKAGES, PACKAGES[1:])
    )
    assert one == two
    assert json.loads(one)["serialNumber"] != json.loads(three)["serialNumber"]


def test_both_lists_are_written(tmp_path: Path) -> None:
    sbom.write_lists(tmp_path, NAME, PACKAGES, milestone=72, epoch=EPOCH)
    assert read_table((tmp_path / FILE).read_text(), FILE) == PACKAGES
    assert len(json.loads((tmp_path / sbom.FILE).read_text())["components"]) == len(PACKAGES) + 1
