"""Which published versions somebody relies on, so that they may not be pruned.

Two places say so: pins in the bucket itself, and the data files of a tast-tests checkout. A pin is an object
`<milestone>/pins/<name>.json` of whoever relies on versions, as `invoke uprev` leaves one:
{"format": 1, "why": "...", "urls": ["gs://<bucket>/<milestone>/images/.../<serial>/lxd.tar.xz"]}.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.bucket import Bucket, Kind
from common.errors import ArtifactError, UsageError
from common.milestones import object_name
from common.sweep import spare
from lxd.simplestreams import time_of

FORMAT = 1
PINS = "pins/"
_PATH = re.compile(r"images/debian/(?P<release>[^/]+)/(?P<arch>[^/]+)/(?P<type>[^/]+)/(?P<serial>[^/]+)/[^/]+")
# gs://BUCKET/..., and the same over HTTPS, as clients have it.
_URL = re.compile(r"(?:gs://|https://storage\.googleapis\.com/)(?P<bucket>[^/]+)/(?P<name>.+)")
_HINT = "correct or remove it; nothing was pruned"


@dataclass(frozen=True, order=True)
class Version:
    """One version of one image: the product's name in the index, and the serial."""

    product: str
    serial: str

    def __str__(self) -> str:
        """`debian:bookworm:amd64:default 20261124_12:10`."""
        return f"{self.product} {self.serial}"


def version_of(path: str) -> Version | None:
    """The version that an object belongs to, by its path below the milestone; None for any other object."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    try:
        time_of(match["serial"])
    except ArtifactError:
        return None
    return Version(f"debian:{match['release']}:{match['arch']}:{match['type']}", match["serial"])


def protected(bucket: Bucket, milestone: int, *, tast: Path | None) -> Mapping[Version, str]:
    """The versions somebody pins, and who.

    Args:
        bucket: the one that is to be pruned.
        milestone: whose.
        tast: a folder with Tast data files (*.external), searched to the bottom; None for none.

    Raises:
        ArtifactError: one of these cannot be read: better nothing is pruned than something that is relied on.
        UsageError: `tast` is no folder.
    """
    found: dict[Version, str] = {}
    for name in bucket.names(object_name(milestone, PINS)):
        if held := bucket.read(name):
            where = f"{bucket.url}/{name}"
            why, urls = _pin(held.content, where)
            found |= dict.fromkeys(_versions(urls, bucket, milestone, where), f"{where} ({why})")
    for path in _data_files(tast):
        found |= dict.fromkeys(_versions([_url(path)], bucket, milestone, str(path)), path.name)
    return found


def pin(bucket: Bucket, milestone: int, name: str, *, why: str, urls: Collection[str], publisher: str) -> None:
    """Leave a pin in a bucket, in place of an earlier one of that name.

    Args:
        bucket, milestone: where.
        name: of the pin.
        why: for people.
        urls: objects of the versions that have to stay; those of other buckets and milestones are passed over.
        publisher: who pins.

    Raises:
        ArtifactError: one of them is gone.
    """
    said = {"format": FORMAT, "why": why, "urls": sorted(urls)}
    content = json.dumps(said, indent=1, sort_keys=True) + "\n"
    bucket.upload(
        content.encode(), object_name(milestone, f"{PINS}{name}.json"), kind=Kind.POINTER, publisher=publisher
    )
    names = [match["name"] for url in urls if (match := _match(url, bucket, milestone))]
    if gone := spare(bucket, milestone, names, publisher=publisher):
        raise ArtifactError(f"{bucket.url}/{gone[0]} was pruned", hint="pin the newest images")


def _pin(content: bytes, where: str) -> tuple[str, list[str]]:
    pin = _parsed(content, where)
    match pin:
        case {"format": 1, "why": str(why), "urls": list(urls)} if all(isinstance(url, str) for url in urls):
            return why, urls
        case _:
            raise ArtifactError(f"{where} is no pin of format {FORMAT}", hint=_HINT)


def _data_files(tast: Path | None) -> list[Path]:
    if tast is None:
        return []
    if not tast.is_dir():
        raise UsageError(f"{str(tast)!r} is no folder with Tast data files", hint="a checkout of tast-tests")
    return sorted(tast.rglob("*.external"))


def _url(path: Path) -> str:
    """The URL of an external data file; "" for one that names an artifact of the build instead."""
    match _parsed(path.read_bytes(), str(path)):
        case {"url": str(url)}:
            return url
        case dict():
            return ""
        case _:
            raise ArtifactError(f"{path} is no external data file of Tast", hint=_HINT)


def _parsed(content: bytes, where: str) -> object:
    try:
        parsed: object = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise ArtifactError(f"{where} is not JSON: {err}", hint=_HINT) from err
    return parsed


def _versions(urls: list[str], bucket: Bucket, milestone: int, where: str) -> Iterator[Version]:
    """The versions that URLs name; those of other buckets and milestones are no concern of ours."""
    for url in urls:
        if match := _match(url, bucket, milestone):
            version = version_of(match["name"].removeprefix(object_name(milestone, "")))
            if version is None:
                raise ArtifactError(f"{where} names {url!r}, which is no file of an image", hint=_HINT)
            yield version


def _match(url: str, bucket: Bucket, milestone: int) -> re.Match[str] | None:
    match = _URL.fullmatch(url)
    if (
        match
        and f"gs://{match['bucket']}" == bucket.url
        and match["name"].startswith(object_name(milestone, "images/"))
    ):
        return match
    return None
