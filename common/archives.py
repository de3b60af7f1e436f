"""Downloaded .deb files, kept between runs: each run of apt has its own directory of hard links to them."""

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import unquote

from common.files import forget_old, remove_stale, workspace
from common.mirror import Mirror

# apt's name of a file: package_version_arch.deb, with a colon of the version as %3a.
Version = tuple[str, str]


def version_of(name: str) -> Version:
    """The package and version of a .deb, by its file name in apt's cache."""
    package, version, *_ = f"{name.removesuffix('.deb')}__".split("_")
    return package, unquote(version)


@contextlib.contextmanager
def archives(cache: Path, mirror: Mirror, *, ours: Collection[Version] = ()) -> Iterator[Path]:
    """A directory for apt (Dir::Cache::archives) that has what earlier runs downloaded; new files are kept afterwards.

    apt takes a file that is there without looking at its digest, which is well for an archive that never gives one
    version two contents. A mirror has a shelf of its own, therefore, and our own packages have none. Two weeks after
    it was downloaded a file is downloaded again.

    Args:
        cache: a directory that may be deleted at any time, and shared between runs.
        mirror: where the files come from.
        ours: packages that are not kept.
    """
    shelf = cache / hashlib.sha256(repr(mirror).encode()).hexdigest()[:12]
    shelf.mkdir(parents=True, exist_ok=True)
    remove_stale(shelf, ".run-*")
    forget_old(shelf, "*.deb")
    with workspace(".run", parent=shelf) as place:
        (place / "partial").mkdir()
        for deb in shelf.glob("*.deb"):
            with contextlib.suppress(FileNotFoundError):  # another run forgot it
                os.link(deb, place / deb.name)
        try:
            yield place
        finally:
            # Also after a failure: what is here whole has been checked by apt.
            for deb in place.glob("*.deb"):
                if version_of(deb.name) not in ours:
                    with contextlib.suppress(FileExistsError):
                        os.link(deb, shelf / deb.name)
