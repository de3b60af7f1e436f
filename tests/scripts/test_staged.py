"""What `invoke staged` says of a desk's staging."""

import datetime as dt
import shutil
from pathlib import Path

import pytest

from common.errors import GateError, UsageError
from common.snapshots import Part
from scripts import staged
from scripts.promote import How, run
from scripts.releases import STAGING
from tests.scripts.releaseparts import make_green, publish
from tests.scripts.releaseparts import staged as shown


def lines(desk: Path, capsys: pytest.CaptureFixture[str], diff: str = "") -> list[str]:
    capsys.readouterr()
    staged.run(milestone=72, diff=diff, out=str(desk), storage="directory")
    return capsys.readouterr().out.splitlines()


def test_a_desk_without_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.endswith("nothing was recorded") for line in lines(tmp_path, capsys)] == [True, True]


def test_what_is_staged_what_is_new_and_why_it_may_not_go_live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path, "72.1")
    make_green(tmp_path)
    first = shown(tmp_path, Part.APT).id
    run(Part.APT, milestone=72, snapshot="", how=How(out=str(tmp_path), who="me"))
    publish(tmp_path, "72.2")
    apt = lines(tmp_path, capsys)[: lines(tmp_path, capsys).index("gs://cros-containers-staging/72:")]
    second = shown(tmp_path, Part.APT).id
    assert apt[:2] == ["gs://cros-packages-staging/72:", f"  {second} 0 min old (staged)"]
    assert "      upgraded: cros-garcon 72.1+deb12 -> 72.2+deb12" in apt
    at = apt.index("    may not go live:")
    images = shown(tmp_path, Part.CONTAINER).short
    assert apt[at + 1] == f"      pfq: there is no evidence (of the images {images})"
    assert apt[at + 2 :] == [f"  {first} 0 min old (live)", apt[at + 3], "    may go live"]
    assert apt[at + 3].startswith("    the oldest one here: ")


def test_without_a_keyring_nothing_may_go_live_and_all_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For who has no key: with one, its own is enough."""
    publish(tmp_path, "72.1")
    make_green(tmp_path)
    shutil.rmtree(tmp_path / "keys")
    for bucket in STAGING.values():
        (tmp_path / "gs" / bucket / "72/snapshots/keyring.asc").unlink()
    said = lines(tmp_path, capsys)
    assert [line for line in said if line.startswith("gs://")] == [f"gs://{each}/72:" for each in STAGING.values()]
    assert ["keyring.asc is missing: nobody can verify a snapshot" in line for line in said].count(True) == 2
    assert "    may go live" not in said


def test_a_snapshot_that_claims_to_be_of_later_than_now(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    monkeypatch.setattr("kokoro.attest.now", lambda: tomorrow)
    publish(tmp_path, "72.1")
    make_green(tmp_path)
    sentence = f"it was published on {tomorrow:%Y-%m-%d %H:%M:%S} UTC, which is later than now ("
    assert [line.strip().startswith(sentence) for line in lines(tmp_path, capsys)].count(True) == 3
    for part in Part:
        with pytest.raises(GateError, match="may not go live") as refused:
            run(part, milestone=72, snapshot="", how=How(out=str(tmp_path), who="me"))
        assert sentence in refused.value.details


def test_what_differs_between_two_snapshots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path, "72.1")
    make_green(tmp_path)
    first = {part: shown(tmp_path, part).id for part in Part}
    assert all("nothing live .. gs://" in line for line in lines(tmp_path, capsys, ".."))
    for part in Part:
        run(part, milestone=72, snapshot="", how=How(out=str(tmp_path), who="me"))
    assert lines(tmp_path, capsys, "..")[1::2] == ["  the same packages", "  the same packages"]
    publish(tmp_path, "72.2")
    both = lines(tmp_path, capsys, "..")
    assert both[0].startswith("gs://cros-packages/72 ")
    assert " .. gs://cros-packages-staging/72 " in both[0]
    assert both[1:4] == [
        "  bookworm", "    upgraded: cros-garcon 72.1+deb12 -> 72.2+deb12",
        "    upgraded: cros-guest-tools 72.1+deb12 -> 72.2+deb12",
    ]  # fmt: skip
    assert both[-3:] == [
        "    added: only-in-72.2 72.2", "    removed: only-in-72.1 72.1", "    upgraded: cros-garcon 72.1 -> 72.2",
    ]  # fmt: skip
    apt = both[: both.index(next(line for line in both if "cros-containers" in line))]
    assert lines(tmp_path, capsys, f"{first[Part.APT][:8]}..")[1:] == apt[1:]
    assert "    downgraded: cros-garcon 72.2+deb12 -> 72.1+deb12" in lines(
        tmp_path, capsys, f"{shown(tmp_path, Part.APT).id}..{first[Part.APT]}"
    )
    for bad, said in (
        ("0123", "does not name two"), ("01..", "begin with '01'"), ("..zzzzzz", "no snapshots begin with 'zzzzzz'"),
        (f"{first[Part.APT]}..{first[Part.CONTAINER]}", "a repository and images"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            lines(tmp_path, capsys, bad)
