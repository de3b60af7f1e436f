"""Branch names, branches.toml read strictly, and what is said about what we do not build."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common.branches import (
    Axis,
    Channel,
    active_branches,
    branch_of_milestone,
    find_branch,
    jobs_table,
    load,
    parse_name,
)
from common.errors import ConfigError, UsageError
from common.files import ROOT

SEED = [
    (71, "release-R71-11151.B", "stable"),
    (72, "release-R72-11316.B", "beta"),
    (73, "release-R73-11647.B", "dev"),
    (74, "main", "canary"),
]


def test_the_active_branches_are_those_of_the_seed() -> None:
    assert [(branch.milestone, branch.name, branch.channel) for branch in active_branches()] == SEED
    for branch in active_branches():
        assert set(branch.image_arches) <= set(branch.arches)


def test_jobs_table_is_the_one_of_the_seed() -> None:
    assert jobs_table(["guest_tools"]) == [
        (f"cros-containers/crostini-guest/{milestone}/guest_tools", milestone, name) for milestone, name, _ in SEED
    ]
    assert [row[0].rsplit("/", 1)[1] for row in jobs_table(["a", "b"])[:2]] == ["a", "b"]


@pytest.mark.parametrize("name", ["main", "master"])
def test_master_is_main(name: str) -> None:
    branch = find_branch(name)
    assert (branch.name, branch.milestone, branch.build) == ("main", 74, None)


def test_a_release_branch() -> None:
    branch = find_branch("release-R72-11316.B")
    assert (branch.milestone, branch.build, branch.channel) == (72, 11316, Channel.BETA)
    assert branch_of_milestone(72) == branch


@given(st.integers(1, 9999), st.integers(1, 99999))
def test_the_parser_reads_every_release_branch(milestone: int, build: int) -> None:
    name = f"release-R{milestone}-{build}.B"
    parsed = parse_name(name)
    assert (parsed.name, parsed.milestone, parsed.build) == (name, milestone, build)


@given(st.text())
def test_the_parser_takes_nothing_else(text: str) -> None:
    assume(text not in ("main", "master"))
    with pytest.raises(UsageError) as caught:
        parse_name(text)
    assert repr(text) in caught.value.what


@given(
    st.integers(0, len("release-R72-11316.B") - 1),
    st.text("release-R72.B0\u0663\n /", max_size=2),
)
def test_one_changed_place_is_refused_or_read_for_what_it_says(where: int, instead: str) -> None:
    name = "release-R72-11316.B"
    text = name[:where] + instead + name[where + 1 :]
    try:
        parsed = parse_name(text)
    except UsageError:
        return
    assert text == f"release-R{parsed.milestone}-{parsed.build}.B"


@pytest.mark.parametrize(
    "name",
    ["", "Main", "main ", "release-R72-11316.b", "release-R072-11316.B", "release-R72-11316.B\n",
     "release-R72-11316.1.B", "release-72-11316.B", "release-R\u0667\u0662-11316.B",
     "refs/heads/main", "R72", "factory", "stabilize"],
)  # fmt: skip
def test_near_misses_are_refused_with_the_active_branches(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_branch(name)
    assert f"unknown branch {name!r}" == caught.value.what
    assert "release-R71-11151.B (stable), release-R72-11316.B (beta)" in caught.value.hint


def test_a_typo_gets_the_nearest_branch() -> None:
    with pytest.raises(UsageError, match="did you mean 'release-R72-11316.B'"):
        find_branch("release-R72-11361.B")


def test_a_branch_that_is_not_active_is_called_that() -> None:
    with pytest.raises(UsageError, match="branch 'release-R99-12345.B' is not active"):
        find_branch("release-R99-12345.B")
    with pytest.raises(UsageError, match="no active branch has milestone 99"):
        branch_of_milestone(99)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("factory-rammus-11289.B", "assembly line"),
        ("factory-2914.B", "assembly line"),
        ("firmware-cr50-release-11316.B", "boot firmware"),
        ("stabilize-11316.82.B", "tries one build out"),
        ("stabilize-quickfix-11316.B", "tries one build out"),
    ],
)
def test_other_kinds_of_branches_are_refused_with_a_reason(name: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_branch(name)
    assert caught.value.what.startswith(f"no guest is built from branch {name!r}: a {name.split('-')[0]} branch ")
    assert reason in caught.value.what


@pytest.mark.parametrize(
    ("axis", "wanted", "found"),
    [
        ("release", [], ("bullseye", "bookworm", "trixie")),
        ("release", ["trixie", "bullseye", "trixie"], ("bullseye", "trixie")),
        ("arch", ["i386"], ("i386",)),
        ("image arch", ["arm64"], ("arm64",)),
        ("image type", ["default"], ("default",)),
    ],
)
def test_narrowed_keeps_the_order_of_the_file(axis: Axis, wanted: list[str], found: tuple[str, ...]) -> None:
    assert find_branch("release-R72-11316.B").narrowed(axis, wanted) == found


@pytest.mark.parametrize(
    ("axis", "value", "guess"),
    [("release", "bokworm", "bookworm"), ("arch", "amd46", "amd64"), ("image type", "defualt", "default")],
)
def test_narrowed_refuses_what_is_not_there(axis: Axis, value: str, guess: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_branch("main").narrowed(axis, [value])
    assert f"unknown {axis} {value!r} for branch 'main'" == caught.value.what
    assert f"did you mean {guess!r}?" in caught.value.hint


GOOD = """\
[defaults]
releases = ["bullseye", "bookworm"]
arches = ["amd64", "arm64"]
image_arches = ["amd64"]
image_types = ["default", "test"]
[branches.main]
channel = "canary"
milestone = 74
[branches."release-R72-11316.B"]
channel = "beta"
milestone = 72
releases = ["trixie"]
"""


def _load(tmp_path: Path, text: str) -> None:
    (tmp_path / "branches.toml").write_text(text)
    load(tmp_path / "branches.toml")


def test_a_branch_may_differ_from_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "branches.toml").write_text(GOOD)
    beta, main = load(tmp_path / "branches.toml")
    assert (beta.name, beta.releases, beta.image_types) == ("release-R72-11316.B", ("trixie",), ("default", "test"))
    assert (main.name, main.releases) == ("main", ("bullseye", "bookworm"))


@pytest.mark.parametrize(
    ("old", "new", "says", "hints"),
    [
        ("[defaults]", "[default]", "branches.toml: unknown key 'default'", "did you mean 'defaults'?"),
        ("image_arches", "image_arch", "branches.toml defaults: unknown key 'image_arch'", "'image_arches'?"),
        ("channel =", "chanel =", "branches.toml branches main: unknown key 'chanel'", "did you mean 'channel'?"),
        ('"canary"', '"canari"', "branches main: unknown channel 'canari'", "did you mean 'canary'?"),
        ('"beta"', '"canary"', "'main' and 'release-R72-11316.B' both have channel 'canary'", "one of the two"),
        ("= 74", "= 68", "branches main: milestone 68 has no containers", "69 was the first"),
        ("= 72", "= 73", "milestone is 73, but the name says 72", "one of the two"),
        ("= 74", "= 72", "'main' and 'release-R72-11316.B' both have milestone '72'", "one of the two"),
        ("= 74", '= "74"', "branches main: milestone is '74', not a number above 0", "milestone = 72"),
        ("= 74", "= true", "branches main: milestone is True, not a number above 0", "milestone = 72"),
        ("milestone = 74\n", "", "branches main: 'milestone' is missing", "add a line"),
        ('"bookworm"', '"sid"', "defaults: unknown releases 'sid'", "known: bullseye, bookworm, trixie"),
        ('"bookworm"', '"bullseye"', "releases has 'bullseye' twice", "leave one"),
        ('["amd64", "arm64"]', '["armel"]', "defaults: unknown arches 'armel'", "known: amd64"),
        ('["amd64", "arm64"]', "[]", "arches is [], not a list of words", "arches = ["),
        ('image_arches = ["amd64"]', 'image_arches = ["i386"]', "unknown image_arches 'i386'", "known: amd64, arm64"),
        ('"test"', '"tests"', "unknown image_types 'tests'", "did you mean 'test'?"),
        ("branches.main", "branches.master", "'master' is not a branch guests are built from", "main, or like"),
        ("release-R72-11316.B", "stabilize-11316.B", "'stabilize-11316.B' is not a branch guests", "main, or like"),
        ("[branches.main]", "[branches.main", "branches.toml is not TOML", "correct the line"),
        ("[branches.main]\n", "[branches]\nmain = 3\n[x]\n", "unknown key 'x'", "known"),
        (GOOD, "", "branches.toml lists no branch", "[branches.main]"),
        (GOOD, "branches = 3", "branches.toml branches is 3, not a table", "[branches]"),
        (GOOD, "[branches]\nmain = 3", "branches.toml branches main is 3, not a table", "[main]"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, says: str, hints: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, GOOD.replace(old, new, 1))
    assert says in caught.value.what
    assert hints in caught.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="branches.toml' is missing"):
        load(tmp_path / "branches.toml")


def test_the_document_names_every_key() -> None:
    text = (ROOT / "docs" / "branches.md").read_text()
    for key in ("channel", "milestone", "releases", "arches", "image_arches", "image_types"):
        assert f"`{key}`" in text
