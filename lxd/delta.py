"""Deltas from the versions before: what a client that has one of them downloads instead of the whole root file.

LXD and Incus take a squashfs.vcdiff whose delta_base they have, and run `xdelta3 -d` on it; without that program, or
without the base, they take the whole file.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common import tools
from common.bucket import Bucket
from common.errors import ArtifactError
from common.files import sha256_of
from common.milestones import object_name
from common.progress import step
from lxd.pack import SQUASHFS
from lxd.simplestreams import Item, Product

log = logging.getLogger(__name__)

FTYPE = "squashfs.vcdiff"
BELOW = 0.7  # of the whole file: one that saves less is not worth its place
# The default image of bookworm (322.6 MB) with new guest packages: seconds of processor time, MB of memory, delta.
#   level 1: 0.6 s, 123 MB, 961 kB    level 9: 2.4 s, 247 MB, 945 kB
# What is new in a squashfs is compressed already; a higher level finds nothing more in it.
_LEVEL = "-1"


@dataclass(frozen=True)
class Delta:
    """A delta file, and its entry in the index; its path is below the version's folder."""

    path: Path
    item: Item


@dataclass(frozen=True)
class Deltas:
    """Makes deltas against what a bucket has.

    Attributes:
        bucket, milestone: where the versions before are.
        place: a folder for the files made; they are used until the end of the publication.
        bases: against how many of the newest versions; 0 for none.
    """

    bucket: Bucket
    milestone: int
    place: Path
    bases: int
    _made: dict[tuple[str, str], Path | None] = field(default_factory=dict)

    def of(self, product: Product, rootfs: Path, item: Item) -> Mapping[str, Delta]:
        """The deltas of a new version that are worth it, by file name.

        Args:
            product: with the versions there are so far.
            rootfs: the new version's squashfs.
            item: its entry in the index.

        Raises:
            ToolMissingError: there is no xdelta3.
            CommandError, DeadlineError, DiskFullError: from xdelta3.
        """
        found = {}
        for serial in sorted(product.versions, reverse=True)[: self.bases]:
            base = product.versions[serial].get(SQUASHFS)
            if base is None:
                continue
            key = (base.sha256, item.sha256)
            if key not in self._made:
                self._made[key] = self._make(serial, base, rootfs, item)
            if (made := self._made[key]) is not None:
                name = f"rootfs.{serial}.vcdiff"
                size, sha256 = made.stat().st_size, sha256_of(made)
                found[name] = Delta(made, Item(ftype=FTYPE, path=name, size=size, sha256=sha256, delta_base=serial))
        return found

    def _make(self, serial: str, base: Item, rootfs: Path, item: Item) -> Path | None:
        old, delta = self.place / "base", self.place / f"{base.sha256[:16]}-{item.sha256[:16]}.vcdiff"
        held = self.bucket.read(object_name(self.milestone, base.path))
        if held is None or held.stat.sha256 != base.sha256:
            log.warning("no delta against %s: %s is not what the index says", serial, base.path)
            return None
        old.write_bytes(held.content)
        del held
        with step(f"Make a delta against {serial}"):
            encode(old, rootfs, delta)
            if delta.stat().st_size >= BELOW * item.size:
                log.info("no delta against %s: %d of %d bytes", serial, delta.stat().st_size, item.size)
                delta.unlink()
            else:
                _check(old, delta, item)
        old.unlink()
        return delta if delta.exists() else None


def encode(old: Path, new: Path, delta: Path) -> None:
    """Write what makes `new` of `old`; the same two files give the same delta.

    Raises:
        ToolMissingError, CommandError, DeadlineError, DiskFullError: from xdelta3.
    """
    # -A: without a header that names the files.
    tools.run(["xdelta3", "-e", _LEVEL, "-f", "-A", "-s", old, new, delta], quiet=True, timeout=1800)


def decode(old: Path, delta: Path, new: Path) -> None:
    """Make `new` of `old`, as clients do. Errors: see `encode`."""
    tools.run(["xdelta3", "-f", "-d", "-s", old, delta, new], quiet=True, timeout=1800)


def _check(old: Path, delta: Path, item: Item) -> None:
    """Do what a client will: a delta that makes other bytes would break its refresh."""
    again = delta.with_name("again")
    decode(old, delta, again)
    made = sha256_of(again)
    again.unlink()
    if made != item.sha256:
        raise ArtifactError(
            f"xdelta3 makes another file of its own delta: SHA-256 {made!r}, not {item.sha256!r}",
            hint="publish without deltas (DELTA_BASES=0), and check this machine's disk and memory",
        )
