"""Versions of the guest packages, which rise by themselves: with the milestone, the branch's build and the commit."""

from datetime import UTC, datetime
from typing import Protocol

from debs.releases import find_release


class Numbers(Protocol):
    """What a version needs of a branch (common.branches.Branch has it)."""

    @property
    def milestone(self) -> int:
        """The Chrome OS milestone."""

    @property
    def build(self) -> int | None:
        """The number in the branch's name; None on main."""


def version(branch: Numbers, epoch: int, release: str) -> str:
    """The version of all packages of one build.

    A later milestone, a later commit and a later Debian release each sort above; and above every 0.x version.

    Args:
        branch: gives milestone and build number.
        epoch: SOURCE_DATE_EPOCH of the commit, in seconds.
        release: Debian's codename.
    """
    when = datetime.fromtimestamp(epoch, UTC).strftime("%Y%m%d.%H%M%S")
    return f"{branch.milestone}.{branch.build or 0}.{when}+deb{find_release(release).debian}"
