"""What changed from one version to the next, as a person and a program read it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lxd.changes import Change, Changes, Kind, Sizes, compare
from lxd.contents import Package


def package(name: str, version: str, arch: str = "amd64", size: int = 0) -> Package:
    return Package(
        name=name, version=version, arch=arch, origin="Debian", source=name, source_version=version, size=size
    )


def kinds(before: list[Package], after: list[Package]) -> list[tuple[str, str]]:
    return [(change.kind.value, str(change)) for change in compare(before, after)]


def test_each_kind_of_change_is_told() -> None:
    before = [package("bash", "5.2-2"), package("gone", "1"), package("same", "1"), package("zlib", "1:1.3")]
    after = [package("bash", "5.2-2+b1"), package("new", "1"), package("same", "1"), package("zlib", "2.0")]
    assert kinds(before, after) == [
        ("added", "new 1"),
        ("removed", "gone 1"),
        ("downgraded", "zlib 1:1.3 -> 2.0"),
        ("upgraded", "bash 5.2-2 -> 5.2-2+b1"),
    ]


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("1.0~rc1", "1.0", "upgraded"),
        ("9", "10", "upgraded"),
        ("1:1", "2", "downgraded"),
        ("1.0-1", "1.0-0", "downgraded"),
    ],
)
def test_versions_are_compared_as_dpkg_does(before: str, after: str, kind: str) -> None:
    assert [found for found, _ in kinds([package("a", before)], [package("a", after)])] == [kind]


def test_a_package_of_two_architectures_is_told_apart() -> None:
    both = [package("libc6", "1"), package("libc6", "1", "i386")]
    assert kinds(both, both[:1]) == [("removed", "libc6:i386 1")]
    assert kinds(both[:1], both) == [("added", "libc6:i386 1")]


def test_a_package_that_is_for_all_architectures_now_is_the_same() -> None:
    assert kinds([package("a", "1", "all")], [package("a", "2", "amd64")]) == [("upgraded", "a 1 -> 2")]


lists = st.lists(
    st.builds(package, st.sampled_from("abcdef"), st.sampled_from(["1", "1:0", "1.0~rc1", "2-1", "10"])),
    unique_by=lambda each: each.name,
)


@given(lists, lists)
def test_changes_lead_from_one_list_to_the_other(before: list[Package], after: list[Package]) -> None:
    have = {each.name: each.version for each in before}
    for change in compare(before, after):
        assert have.get(change.package, "") == change.before
        have[change.package] = change.after
    assert {name: version for name, version in have.items() if version} == {each.name: each.version for each in after}


@given(lists, lists)
def test_the_way_back_is_the_opposite(before: list[Package], after: list[Package]) -> None:
    opposite = {
        Kind.ADDED: Kind.REMOVED,
        Kind.REMOVED: Kind.ADDED,
        Kind.UPGRADED: Kind.DOWNGRADED,
        Kind.DOWNGRADED: Kind.UPGRADED,
    }
    there = {change.package: change.kind for change in compare(before, after)}
    back = {change.package: change.kind for change in compare(after, before)}
    assert back == {name: opposite[kind] for name, kind in there.items()}


def test_the_text_is_for_people() -> None:
    changes = Changes(
        product="debian:bookworm:amd64:default",
        serial="20261124_12:15",
        base="20261124_12:10",
        packages=(Change(kind=Kind.UPGRADED, package="bash", before="1", after="2"),),
        before=Sizes(rootfs=300_000_000, installed=1_000_000),
        after=Sizes(rootfs=310_500_000, installed=900_000),
    )
    assert str(changes).splitlines() == [
        "debian:bookworm:amd64:default 20261124_12:15 against 20261124_12:10",
        "  root file 310.5 MB (+10.5 MB)",
        "  installed 921.6 MB (-102.4 MB)",
        "  upgraded (1):",
        "    bash 1 -> 2",
    ]
    assert json.loads(json.dumps(changes.plain()))["packages"] == [
        {"kind": "upgraded", "package": "bash", "before": "1", "after": "2"}
    ]


@pytest.mark.parametrize(
    ("before", "packages", "said"),
    [
        (None, None, "s: the first version"),
        (Sizes(rootfs=1, installed=0), None, "b has no list of packages to compare with"),
        (Sizes(rootfs=1, installed=0), (), "the same packages"),
    ],
)
def test_what_cannot_be_compared_is_said(before: Sizes | None, packages: tuple[Change, ...] | None, said: str) -> None:
    after = Sizes(rootfs=1, installed=0)
    text = str(Changes(product="p", serial="s", base="b", packages=packages, before=before, after=after))
    assert said in text
