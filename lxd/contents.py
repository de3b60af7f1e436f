"""The packages of an image: read from dpkg's status, and written as the table packages.tsv."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from debian.deb822 import Deb822

from common.errors import ArtifactError

FILE = "packages.tsv"
GOOGLE, DEBIAN = "Google", "Debian"
_COLUMNS = ("package", "version", "architecture", "origin", "source", "source version", "installed KiB")
# Debian policy 5.6.1: `Source: name` or `Source: name (version)`, each where it differs from the package's own.
_SOURCE = re.compile(r"(?P<name>\S+)(?: \((?P<version>\S+)\))?")


@dataclass(frozen=True, kw_only=True, order=True)
class Package:
    """One installed package.

    Attributes:
        name, version, arch: as dpkg has them.
        origin: whose archive it came from, GOOGLE or DEBIAN.
        source, source_version: the source package it was built from.
        size: of its files when installed, in KiB, as the package says itself.
    """

    name: str
    version: str
    arch: str
    origin: str
    source: str
    source_version: str
    size: int = 0


def installed(status: str, google: Collection[tuple[str, str]]) -> tuple[Package, ...]:
    """The installed packages of a root file system, sorted.

    Args:
        status: the text of /var/lib/dpkg/status.
        google: the (name, version) that the signed repository has; all else came from Debian.

    Raises:
        ArtifactError: a paragraph lacks a field that dpkg always writes.
    """
    paragraphs = Deb822.iter_paragraphs(status, use_apt_pkg=False)
    try:
        return tuple(
            sorted(_package(each, google) for each in paragraphs if each["Status"].split()[-1:] == ["installed"])
        )
    except (KeyError, ValueError) as err:
        raise ArtifactError(f"the image's dpkg status is damaged: {err}", hint="build the image again") from err


def _package(paragraph: Deb822, google: Collection[tuple[str, str]]) -> Package:
    name, version = paragraph["Package"], paragraph["Version"]
    source = _SOURCE.fullmatch(paragraph.get("Source", name))
    if source is None:
        raise ValueError(f"Source {paragraph['Source']!r} of {name}")
    return Package(
        name=name,
        version=version,
        arch=paragraph["Architecture"],
        origin=GOOGLE if (name, version) in google else DEBIAN,
        source=source["name"],
        source_version=source["version"] or version,
        size=int(paragraph.get("Installed-Size", 0)),
    )


def write_table(packages: Iterable[Package]) -> str:
    """The text of packages.tsv: a head and a line a package, so that two can be compared with diff."""
    rows = ["\t".join(_COLUMNS)]
    rows += [
        "\t".join((each.name, each.version, each.arch, each.origin, each.source, each.source_version, str(each.size)))
        for each in packages
    ]
    return "\n".join(rows) + "\n"


def read_table(text: str, where: str) -> tuple[Package, ...]:
    """The packages of a packages.tsv.

    Args:
        text: its content.
        where: its path or URL, for the message.

    Raises:
        ArtifactError: it is not one that this project wrote.
    """
    head, *lines = text.split("\n")
    if head.split("\t") != list(_COLUMNS) or lines[-1:] != [""]:
        raise ArtifactError(f"{where} is no list of packages: it begins with {head[:80]!r}", hint="publish it again")
    return tuple(_row(line, where) for line in lines[:-1])


def _row(line: str, where: str) -> Package:
    try:
        name, version, arch, origin, source, source_version, size = line.split("\t")
        return Package(
            name=name, version=version, arch=arch, origin=origin, source=source, source_version=source_version,
            size=int(size),
        )  # fmt: skip
    except ValueError as err:
        raise ArtifactError(f"{where} is no list of packages: {line[:80]!r}", hint="publish it again") from err
