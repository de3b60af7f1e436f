"""The static data with which Tast's Crostini tests use exactly the images of one published state.

A checkout of tast-tests names each image's files crostini_<type>_container_<half>_<release>_<arch>.<ext>.external.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from common.errors import ArtifactError, UsageError
from common.external import SUFFIX, Pin, Pins
from common.shown import Object
from lxd.pins import version_of
from lxd.simplestreams import Images

# Debian's word for an architecture -> Tast's; it runs on no others.
ARCHES = {"amd64": "amd64", "arm64": "arm"}
TYPES = ("test", "app_test")
_HALVES = {"lxd.tar.xz": ("metadata", "tar.xz"), "rootfs.squashfs": ("rootfs", "squashfs"),
           "rootfs.tar.xz": ("rootfs", "tar.xz")}  # fmt: skip
_SQUASHFS, _TARBALL = f".squashfs{SUFFIX}", f".tar.xz{SUFFIX}"
_ROOTFS = re.compile(rf"(.*_container_rootfs_.*)({re.escape(_SQUASHFS)}|{re.escape(_TARBALL)})")
# Where tast-tests and tast-tests-private have, or had, the data of their Crostini tests.
_FOLDERS = (
    "src/go.chromium.org/tast-tests/cros/local/crostini/data",
    "src/go.chromium.org/tast-tests-private/crosint/local/crostini/data",
    "src/chromiumos/tast/local/crostini/data",
)


def objects_of(images: Images) -> dict[str, Object]:
    """The files of all versions of an index, by their paths below the milestone."""
    return {
        item.path: Object(size=item.size, sha256=item.sha256)
        for product in images.products.values()
        for items in product.versions.values()
        for item in items.values()
    }


def pins_of(objects: Mapping[str, Object], url: str) -> dict[str, Pin]:
    """The pins of the newest image of every release, architecture and type that Tast has tests for.

    Args:
        objects: published ones, by their paths below the milestone; others than images' files do not matter.
        url: of the milestone: `gs://cros-containers-staging/72`.

    Returns:
        by the name of the .external file; of the root file system there may be two, a squashfs and a tarball.

    Raises:
        ArtifactError: there is no such image, or one lacks its metadata or its root file system.
    """
    newest: dict[str, str] = {}
    files: dict[tuple[str, str], dict[str, str]] = {}
    for path in objects:
        version = version_of(path)
        if version is not None and path.rsplit("/", 1)[-1] in _HALVES:
            _, release, arch, kind = version.product.split(":")
            if arch in ARCHES and kind in TYPES and re.fullmatch(r"[a-z0-9]+", release):
                newest[version.product] = max(version.serial, newest.get(version.product, ""))
                files.setdefault((version.product, version.serial), {})[path.rsplit("/", 1)[-1]] = path
    if not newest:
        raise ArtifactError(
            f"{url} has no image that Tast could use: none of type {' or '.join(TYPES)}",
            hint="image_types in branches.toml says which types a branch has",
        )
    pins: dict[str, Pin] = {}
    for product, serial in sorted(newest.items()):
        found = files[product, serial]
        if "lxd.tar.xz" not in found or len(found) == 1:
            raise ArtifactError(
                f"{url}: version {serial} of {product} lacks its metadata or its root file system",
                hint="publish the image again",
            )
        for file, path in sorted(found.items()):
            pins[name_of(product, file)] = Pin(
                url=f"{url}/{path}", size=objects[path].size, sha256=objects[path].sha256
            )
    return pins


def name_of(product: str, file: str) -> str:
    """The name of the .external file of an image's file."""
    _, release, arch, kind = product.split(":")
    half, ending = _HALVES[file]
    return f"crostini_{kind}_container_{half}_{release}_{ARCHES[arch]}.{ending}{SUFFIX}"


def folders_of(checkout: Path) -> list[Path]:
    """Where a checkout keeps the data of its Crostini tests. UsageError: nowhere."""
    found = [checkout / folder for folder in _FOLDERS if (checkout / folder).is_dir()]
    if not found:
        raise UsageError(
            f"{str(checkout)!r} is no checkout of tast-tests: it has no data of Crostini's tests",
            hint=f"looked for {', '.join(_FOLDERS)}",
        )
    return found


def used_in(folder: Path, pins: Pins) -> dict[str, Pin]:
    """The pins that a folder needs: of a root file system the kind it has already, as its tests ask for that one.

    A root file system it does not have is pinned as squashfs, where there is one.

    Raises:
        ArtifactError: it has a kind that was not published: a test would get new metadata with an old root file system.
    """
    groups: dict[str, list[str]] = {}
    for name in pins:
        match = _ROOTFS.fullmatch(name)
        groups.setdefault(match[1] if match else name, []).append(name)
    chosen: list[str] = []
    for start, names in groups.items():
        for ending in (_SQUASHFS, _TARBALL):
            old = f"{start}{ending}"
            if _ROOTFS.fullmatch(old) and old not in names and (folder / old).is_file():
                raise ArtifactError(
                    f"{str(folder / old)!r} pins a kind of root file system that was not published with this image",
                    hint="build it with ./run invoke lxd-container --tarball, or remove that file"
                    if ending == _TARBALL else "publish the image again, or remove that file",
                )  # fmt: skip
        have = [name for name in names if (folder / name).is_file()]
        usual = [name for name in names if name.endswith(_SQUASHFS)]
        chosen += have or usual or names
    return {name: pins[name] for name in sorted(chosen)}
