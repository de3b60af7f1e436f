"""Images as lxd_container leaves them: their files, and the entry each gets in the index."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from common import tools
from common.errors import ArtifactError
from common.files import sha256_of, workspace
from lxd import contents, report, sbom
from lxd.contents import Package, read_table
from lxd.guest import CROS_KEYRING
from lxd.metadata import LXD_ARCHES, ImageName
from lxd.pack import SQUASHFS, TARBALL
from lxd.simplestreams import Item

MANIFEST = "manifest"  # the ftype Ubuntu's image servers have for a list of packages
_BLOCK = 1 << 20
# The file -> what it is to a client. LXD reads the first, Incus only the second.
_METADATA = {"lxd.tar.xz": "lxd.tar.xz", "incus.tar.xz": "incus.tar.xz"}
_ROOTS = {SQUASHFS: "squashfs", TARBALL: "root.tar.xz"}
# Clients pass over what they do not know.
_LISTS = {contents.FILE: MANIFEST, sbom.FILE: "cyclonedx", report.FILE: "junit"}
_WANTED = (*_METADATA, SQUASHFS)


@dataclass(frozen=True)
class BuiltImage:
    """An image as lxd_container leaves it.

    Attributes:
        name: which.
        folder: where its files are.
        items: the file's name -> its entry in the index; paths are below the version's folder.
    """

    name: ImageName
    folder: Path
    items: Mapping[str, Item]

    @classmethod
    def read(cls, name: ImageName, folder: Path) -> "BuiltImage":
        """Digest an image's files, each read once: metadata, squashfs, and what else there is of it.

        Raises:
            ArtifactError: one that every image has is missing.
        """
        for file in _WANTED:
            if not (folder / file).is_file():
                raise ArtifactError(
                    f"artifact {file!r} of the image {str(name)!r} is missing",
                    hint=f"./run invoke lxd-container --release {name.release} --arch {name.arch}",
                )
        items = {}
        for file, ftype in (_METADATA | _LISTS).items():
            path = folder / file
            if path.is_file():
                items[file] = Item(ftype=ftype, path=file, size=path.stat().st_size, sha256=sha256_of(path))
        prefixes = {file: (folder / file).read_bytes() for file in _METADATA}
        for file, ftype in _ROOTS.items():
            if (folder / file).is_file():
                size, sha256, combined = _digests(folder / file, prefixes)
                items[file] = Item(ftype=ftype, path=file, size=size, sha256=sha256)
                for metadata, digest in combined.items():
                    items[metadata] = _with_fingerprint(items[metadata], file, digest)
        return cls(name, folder, items)

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file."""
        return {file: item.sha256 for file, item in self.items.items()}

    def is_version(self, items: Mapping[str, Item]) -> bool:
        """Whether a version of the index is this image to a client: lists and deltas do not count."""

        def files(of: Mapping[str, Item]) -> dict[str, str]:
            return {item.ftype: item.sha256 for file, item in of.items() if file in _METADATA or file in _ROOTS}

        return files(self.items) == files(items)

    @contextlib.contextmanager
    def keyring(self) -> Iterator[Path]:
        """A copy of the keyring in it that our apt repository is checked against, for as long as the block lasts.

        Raises:
            ArtifactError: there is none.
            CommandError: the root file system is no squashfs.
        """
        with workspace("keyring") as place:
            found = place / "root" / CROS_KEYRING.lstrip("/")
            tools.capture(
                ["unsquashfs", "-quiet", "-no-progress", "-no-xattrs", "-dest", place / "root", self.folder / SQUASHFS,
                 CROS_KEYRING.lstrip("/")],
                timeout=300,
            )  # fmt: skip
            if not found.is_file():
                raise ArtifactError(
                    f"the image {str(self.name)!r} has no {CROS_KEYRING!r}", hint="cros-apt-config brings it"
                )
            yield found

    def packages(self) -> tuple[Package, ...]:
        """What is installed in it; nothing where there is no list."""
        path = self.folder / contents.FILE
        return read_table(path.read_text(), str(path)) if contents.FILE in self.items else ()


def find_images(root: Path) -> tuple[BuiltImage, ...]:
    """The images below `<release>/<arch>/<type>` of the folder `root`, sorted.

    Raises:
        ArtifactError: there are none, one lacks a file, or has an architecture no client knows.
    """
    folders = sorted(path for path in root.glob("*/*/*") if path.is_dir())
    if not folders:
        raise ArtifactError(f"artifact {root.name!r} has no image", hint="./run invoke lxd-container")
    images = []
    for folder in folders:
        release, arch, kind = folder.relative_to(root).parts
        if arch not in LXD_ARCHES:
            raise ArtifactError(
                f"{folder.relative_to(root).as_posix()!r} has the unknown architecture {arch!r}",
                hint=f"known: {', '.join(LXD_ARCHES)}",
            )
        images.append(BuiltImage.read(ImageName(release=release, arch=arch, type=kind), folder))
    return tuple(images)


def _with_fingerprint(metadata: Item, root: str, digest: str) -> Item:
    """A metadata file's entry with the SHA-256 over it and a root file system."""
    if root == SQUASHFS:
        return replace(metadata, combined_squashfs_sha256=digest)
    return replace(metadata, combined_rootxz_sha256=digest)


def _digests(path: Path, prefixes: Mapping[str, bytes]) -> tuple[int, str, dict[str, str]]:
    """A file's size and SHA-256, and the SHA-256 of each prefix followed by it, in one reading."""
    plain, combined = hashlib.sha256(), {name: hashlib.sha256(prefix) for name, prefix in prefixes.items()}
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            size += len(block)
            for digest in (plain, *combined.values()):
                digest.update(block)
    return size, plain.hexdigest(), {name: digest.hexdigest() for name, digest in combined.items()}
