"""Which packages differ between two snapshots: in each release of a repository, and in each image."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

from debian.deb822 import Packages

from common.aptrelease import codenames_of
from common.errors import ArtifactError
from common.milestones import object_name
from common.snapshots import Part, Snapshot, Snapshots
from lxd.changes import Change, Kind, compare
from lxd.contents import FILE, GOOGLE, Package, read_table
from lxd.pins import version_of

_HINT = "./run invoke verify names all that is wrong"


@dataclass(frozen=True)
class Kept:
    """A snapshot, and where it is kept."""

    store: Snapshots
    snapshot: Snapshot

    def __str__(self) -> str:
        """`gs://cros-packages/72 0123456789ab`."""
        return f"{self.store.url} {self.snapshot.short}"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One release of a repository, or one image, that is not the same in two snapshots.

    Attributes:
        name: `bookworm`, or the name of the image's product.
        before, after: the serials of the image, "" where there is none; "" of a release.
        changes: the packages that differ; none of an image that is new or gone; None where the list of one is lost.
    """

    name: str
    before: str = ""
    after: str = ""
    changes: tuple[Change, ...] | None

    @property
    def title(self) -> str:
        """`bookworm`, `debian:bookworm:amd64:default: 20261126_10:00 -> 20261126_11:00`."""
        versions = f": {self.before or 'nothing'} -> {self.after or 'nothing'}" if self.before or self.after else ""
        return self.name + versions

    def lines(self) -> Iterator[str]:
        """As a person reads it, a change a line."""
        yield self.title
        if self.changes is None:
            yield "  the list of packages of one of them is lost"
        for kind, changes in self.by_kind():
            yield from (f"  {kind}: {change}" for change in changes)

    def by_kind(self) -> Iterator[tuple[Kind, list[Change]]]:
        """The changes of each kind that there is."""
        for kind in Kind:
            if found := [change for change in self.changes or () if change.kind is kind]:
                yield kind, found


def differences(before: Kept, after: Kept) -> list[Difference]:
    """What is not the same in two snapshots of one half.

    Raises:
        ArtifactError: a list of packages is there, and damaged.
    """
    found = _releases(before, after) if after.snapshot.part is Part.APT else _images(before, after)
    return list(found)


def _releases(before: Kept, after: Kept) -> Iterator[Difference]:
    for codename in sorted({*codenames_of(before.snapshot), *codenames_of(after.snapshot)}):
        digests = [_indices(each.snapshot, codename) for each in (before, after)]
        if digests[0] == digests[1]:
            continue
        lists = [_packages(each, of) for each, of in zip((before, after), digests, strict=True)]
        if changes := compare(*lists):
            yield Difference(name=codename, changes=changes)


def _indices(snapshot: Snapshot, codename: str) -> set[str]:
    """The digests of a release's indices of packages; architectures share one when all they have is for any of them."""
    return {
        snapshot.objects[path].sha256
        for path in snapshot.state.replaced
        if path.startswith(f"dists/{codename}/") and path.endswith("/Packages")
    }


def _packages(kept: Kept, digests: set[str]) -> set[Package]:
    found: set[Package] = set()
    for digest in digests:
        content = kept.store.read_kept(digest).content
        try:
            found |= {
                Package(name=each["Package"], version=each["Version"], arch=each["Architecture"], origin=GOOGLE,
                        source=each["Package"], source_version=each["Version"])
                for each in Packages.iter_paragraphs(io.BytesIO(content), use_apt_pkg=False)
            }  # fmt: skip
        except (KeyError, ValueError) as err:
            where = f"{kept.store.bucket.url}/{kept.store.kept(digest)}"
            raise ArtifactError(f"{where} is not an index of packages: {err}", hint=_HINT) from err
    return found


def _images(before: Kept, after: Kept) -> Iterator[Difference]:
    theirs, ours = versions(before.snapshot), versions(after.snapshot)
    for product in sorted(ours.keys() | theirs.keys()):
        old, new = theirs.get(product, ""), ours.get(product, "")
        if old == new:
            continue
        yield Difference(
            name=product, before=old, after=new, changes=_changes(before, after, product) if old and new else ()
        )


def _changes(before: Kept, after: Kept, product: str) -> tuple[Change, ...] | None:
    lists = [_list(each, product) for each in (before, after)]
    return None if lists[0] is None or lists[1] is None else compare(lists[0], lists[1])


def versions(snapshot: Snapshot) -> dict[str, str]:
    """The serial of each product in a snapshot of images."""
    return {found.product: found.serial for path in snapshot.objects if (found := version_of(path))}


def _list(kept: Kept, product: str) -> tuple[Package, ...] | None:
    """The packages of an image in a snapshot; None where it has no list, or that is lost."""
    for path in kept.snapshot.objects:
        version = version_of(path)
        if version and version.product == product and path.endswith(f"/{FILE}"):
            held = kept.store.bucket.read(object_name(kept.store.milestone, path))
            return read_table(held.content.decode(errors="replace"), path) if held else None
    return None
