"""What a new version of an image contains against the one published before it: packages and sizes."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from debian.debian_support import Version

from lxd.contents import Package


class Kind(StrEnum):
    """What happened to a package, in the order it is shown."""

    ADDED = "added"
    REMOVED = "removed"
    DOWNGRADED = "downgraded"
    UPGRADED = "upgraded"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One package that differs; a version is "" where there is none."""

    kind: Kind
    package: str
    before: str
    after: str

    def __str__(self) -> str:
        """`bash 5.2.15-2+b13 -> 5.2.15-2+b14`."""
        return f"{self.package} {' -> '.join(filter(None, (self.before, self.after)))}"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large an image is: its root file in bytes, and what its packages say of themselves installed, in KiB."""

    rootfs: int
    installed: int


@dataclass(frozen=True, kw_only=True)
class Changes:
    """A new version against the one before.

    Attributes:
        product: the image's name in the index.
        serial: of the new version.
        base: of the version before; "" for the first one.
        packages: what differs, sorted; None where the version before has no list of packages.
        before, after: sizes; `before` is None for the first version.
    """

    product: str
    serial: str
    base: str
    packages: tuple[Change, ...] | None
    before: Sizes | None
    after: Sizes

    def plain(self) -> Mapping[str, object]:
        """As JSON has it."""
        return asdict(self)

    def __str__(self) -> str:
        """As a person reads it."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.before is None:
            yield f"{self.product} {self.serial}: the first version"
            yield f"  {_megabytes(self.after.rootfs)}, installed {_megabytes(self.after.installed * 1024)}"
            return
        yield f"{self.product} {self.serial} against {self.base}"
        yield f"  root file {_grown(self.before.rootfs, self.after.rootfs)}"
        if self.packages is None:
            yield f"  {self.base} has no list of packages to compare with"
            return
        yield f"  installed {_grown(self.before.installed * 1024, self.after.installed * 1024)}"
        if not self.packages:
            yield "  the same packages"
        for kind in Kind:
            of_kind = [change for change in self.packages if change.kind is kind]
            if of_kind:
                yield f"  {kind} ({len(of_kind)}):"
                yield from (f"    {change}" for change in of_kind)


def compare(before: Iterable[Package], after: Iterable[Package]) -> tuple[Change, ...]:
    """The packages that differ, sorted by kind and name, with versions compared as dpkg does."""
    lists = [list(before), list(after)]
    several = {name for each in lists for name, count in Counter(package.name for package in each).items() if count > 1}
    old, new = (_by_name(each, several) for each in lists)
    found = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name, ""), new.get(name, "")
        if was != now:
            found.append(Change(kind=_kind(was, now), package=name, before=was, after=now))
    order = list(Kind)
    return tuple(sorted(found, key=lambda change: (order.index(change.kind), change.package)))


def _by_name(packages: Iterable[Package], several: Collection[str]) -> dict[str, str]:
    """The version of each package, with the architecture in the name where a name has several of them."""
    return {
        f"{package.name}:{package.arch}" if package.name in several else package.name: package.version
        for package in packages
    }


def _kind(before: str, after: str) -> Kind:
    if not before:
        return Kind.ADDED
    if not after:
        return Kind.REMOVED
    return Kind.UPGRADED if Version(after) >= Version(before) else Kind.DOWNGRADED


def installed_size(packages: Iterable[Package]) -> int:
    """The size of all packages installed, in KiB."""
    return sum(package.size for package in packages)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _grown(before: int, after: int) -> str:
    return f"{_megabytes(after)} ({(after - before) / 1e6:+.1f} MB)"
