"""Versions rise with milestone, build, commit and release, as dpkg compares them."""

from dataclasses import dataclass

import pytest
from debian.debian_support import Version
from hypothesis import given
from hypothesis import strategies as st

from common import tools
from common.errors import UsageError
from debs.releases import read_table
from debs.version import version

RELEASES = sorted(read_table().values(), key=lambda release: release.debian)
epochs = st.integers(min_value=1_500_000_000, max_value=4_000_000_000)
milestones = st.integers(min_value=60, max_value=9999)
builds = st.none() | st.integers(min_value=1, max_value=99999)


@dataclass
class Numbers:
    """A branch, as far as versions go."""

    milestone: int
    build: int | None


def test_version_is_what_the_contract_says() -> None:
    assert version(Numbers(72, 11316), 1700000000, "bookworm") == "72.11316.20231114.221320+deb12"
    assert version(Numbers(74, None), 1700000000, "trixie") == "74.0.20231114.221320+deb13"


@given(milestones, builds, builds, epochs, epochs)
def test_every_milestone_upgrades_the_one_before(
    milestone: int, build: int | None, next_build: int | None, epoch: int, next_epoch: int
) -> None:
    newest = version(Numbers(milestone, build), epoch, RELEASES[-1].codename)
    oldest = version(Numbers(milestone + 1, next_build), next_epoch, RELEASES[0].codename)
    assert Version(newest) < Version(oldest)


@given(milestones, builds, epochs, epochs)
def test_a_later_commit_upgrades(milestone: int, build: int | None, epoch: int, other: int) -> None:
    first, second = sorted([epoch, other])
    one, two = (version(Numbers(milestone, build), at, "bookworm") for at in (first, second))
    assert (Version(one) < Version(two)) == (first < second)


@given(milestones, builds, epochs)
def test_a_release_upgrade_upgrades(milestone: int, build: int | None, epoch: int) -> None:
    versions = [Version(version(Numbers(milestone, build), epoch, row.codename)) for row in RELEASES]
    assert versions == sorted(versions)
    assert len(set(map(str, versions))) == len(RELEASES)


@pytest.mark.parametrize("original", ["0.1", "0.31~cros11", "0.37", "0.99"])
def test_dpkg_agrees_that_the_originals_versions_are_older(original: str) -> None:
    ours = version(Numbers(1, None), 0, "bullseye")
    tools.run(["dpkg", "--compare-versions", original, "lt", ours])
    tools.run(["dpkg", "--compare-versions", original, "lt", "1~"])  # the guard of the maintainer scripts
    tools.run(["dpkg", "--compare-versions", "1~", "lt", ours])


def test_an_unknown_release_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown release 'sid'"):
        version(Numbers(72, 1), 0, "sid")
