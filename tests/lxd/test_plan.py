"""Which checks are run where, and which are skipped, without any container."""

import threading
from collections.abc import Callable
from typing import cast

import pytest

from common.errors import CheckFailedError
from lxd import tracks
from lxd.about import About
from lxd.checks import CHECKS, Check, Guest, Run, Situation
from lxd.container import Container
from lxd.tracks import Plan, run_checks, stages


class NoContainer:
    """What the checks here do not look at."""

    name = "check-bare"


GUEST = Guest(cast("Container", NoContainer()), Situation.BARE)


def passes(guest: Guest) -> str:
    return "a note"


def fails(guest: Guest) -> None:
    raise CheckFailedError("it is broken")


def make(
    name: str,
    function: Callable[[Guest], str | None] = passes,
    *,
    needed: bool = False,
    alone: bool = False,
    after: tuple[str, ...] = (),
    types: tuple[str, ...] = (),
    releases: tuple[str, ...] = (),
    lacking: str = "",
) -> Check:
    return Check(
        name=name,
        summary=name,
        situations=(Situation.BARE,),
        function=function,
        needed=needed,
        alone=alone,
        after=after,
        types=types,
        releases=releases,
        lacking=lambda _guest: lacking,
    )


def outcomes(*checks: Check, keep: bool = False) -> dict[str, str]:
    """Each check and how it ended."""
    return {
        each.name: "failed" if each.failure else each.skipped or each.note
        for each in run_checks(GUEST, checks, keep=keep)
    }


def test_after_a_needed_check_that_failed_nothing_is_run() -> None:
    assert outcomes(make("a", fails, needed=True), make("b"), make("c")) == {
        "a": "failed", "b": "a failed", "c": "a failed",
    }  # fmt: skip


def test_a_check_comes_after_another_only_if_that_passed() -> None:
    found = outcomes(make("a", fails), make("b"), make("c", after=("a",)), make("d", after=("c",)))
    assert found == {"a": "failed", "b": "a note", "c": "a failed", "d": "a failed"}


def test_what_cannot_be_checked_says_why() -> None:
    found = outcomes(make("a", lacking="no repository"), make("b"), make("c", after=("a",)))
    assert found == {"a": "no repository", "b": "a note", "c": "no repository"}


@pytest.mark.parametrize(("arch", "reason"), [("arm64", "there are none for arm64"), ("amd64", ""), ("", "")])
def test_applications_that_another_architecture_lacks_are_skipped(arch: str, reason: str) -> None:
    [check] = [check for check in CHECKS if check.name == "third-party-applications-are-there"]
    guest = Guest(cast("Container", NoContainer()), Situation.BARE, Run(about=About(arch=arch)))
    assert check.lacking(guest) == reason


def test_what_may_be_run_at_once() -> None:
    checks = [
        make("a", needed=True), make("b"), make("c"), make("d", after=("b",)), make("e", after=("a",)),
        make("f", alone=True), make("g"),
    ]  # fmt: skip
    assert ["".join(check.name for check in stage) for stage in stages(checks)] == ["a", "bc", "de", "f", "g"]
    assert ["".join(check.name for check in stage) for stage in stages(checks, alone=True)] == list("abcdefg")
    assert list(stages([])) == []


def test_checks_are_run_at_once_and_reported_in_their_order() -> None:
    both = threading.Barrier(2, timeout=20)

    def meets(guest: Guest) -> str:
        return "met" if both.wait() >= 0 else ""

    found = outcomes(make("a", meets), make("b", meets), make("c"))
    assert list(found.items()) == [("a", "met"), ("b", "met"), ("c", "a note")]


def test_a_kept_container_is_left_alone_after_the_first_failure() -> None:
    found = outcomes(make("a"), make("b", fails), make("c"), make("d", fails), keep=True)
    kept = "check-bare is kept as b left it"
    assert found == {"a": "a note", "b": "failed", "c": kept, "d": kept}


def names(monkeypatch: pytest.MonkeyPatch, checks: list[Check], chosen: list[str], about: About | None = None) -> str:
    monkeypatch.setattr(tracks, "CHECKS", checks)
    asked = [check for check in checks if check.name in chosen]
    plan = Plan(image="", chosen=asked, run=Run(about=about or About()), devices={})
    return "".join(check.name for check in plan.checks_in(Situation.BARE))


def test_what_a_check_needs_is_run_too(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [make("a", needed=True), make("b"), make("c", after=("b",)), make("d", after=("c",)), make("e")]
    assert names(monkeypatch, checks, ["e"]) == "ae"
    assert names(monkeypatch, checks, ["d"]) == "abcd"
    assert names(monkeypatch, checks, []) == ""
    assert names(monkeypatch, checks, ["a"]) == "a"


def test_checks_are_for_some_images(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [make("a", types=("test",)), make("b", releases=("trixie",)), make("c")]
    everything = ["a", "b", "c"]
    assert names(monkeypatch, checks, everything, About(release="trixie", type="test")) == "abc"
    assert names(monkeypatch, checks, everything, About(release="bookworm", type="default")) == "c"
    assert names(monkeypatch, checks, everything, About()) == "bc", (
        "an image that does not say its release gets them all"
    )


def test_the_real_list_is_in_order() -> None:
    """A check comes after those it names, and they are run wherever it is."""
    for number, check in enumerate(CHECKS):
        for name in check.after:
            [before] = [other for other in CHECKS[:number] if other.name == name]
            assert set(check.situations) <= set(before.situations)
