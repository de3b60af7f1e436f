"""Promotion and rollback: exactly what was tested goes live, and comes back, signed so that clients follow."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common.aptrepo import date_of, indices_of
from common.errors import ArtifactError, GateError, SigningError, UsageError
from common.ledger import Action
from common.snapshots import Part
from common.store import Store
from lxd.simplestreams import IMAGES, Images
from scripts import history, promote, rollback, verify
from scripts.promote import How
from scripts.releases import STAGING
from tests.common.buckets import EMULATOR_VARIABLE, PLACES
from tests.scripts.releaseparts import half, make_green, publish, staged

INRELEASE = "dists/bookworm/InRelease"
Said = Callable[[], list[str]]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A desk's out/, with version 72.1 in staging, whose tests are green."""
    publish(tmp_path, "72.1")
    make_green(tmp_path)
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    return lambda: capsys.readouterr().out.splitlines()


def how(desk: Path, **changes: object) -> How:
    return How(**{"out": str(desk), "who": "me", **changes})  # type: ignore[arg-type]


def go_live(desk: Path, part: Part, **changes: object) -> None:
    promote.run(part, milestone=72, snapshot="", how=how(desk, **changes))


def live(desk: Path, bucket: str, path: str) -> bytes:
    return (desk / "gs" / bucket / "72" / path).read_bytes()


def inrelease(desk: Path, bucket: str = "cros-packages") -> str:
    return live(desk, bucket, INRELEASE).decode()


def images(desk: Path) -> Images:
    return Images.read(live(desk, "cros-containers", IMAGES), "live")


def test_what_is_staged_and_green_goes_live_as_it_is(desk: Path, said: Said) -> None:
    for part in Part:
        go_live(desk, part)
    assert inrelease(desk) == inrelease(desk, "cros-packages-staging")
    assert live(desk, "cros-containers", IMAGES) == live(desk, "cros-containers-staging", IMAGES)
    for part in Part:
        shown, [line] = half(desk, part).shown_live(), half(desk, part).ledger.lines()
        assert shown is not None
        assert shown.state.shows(staged(desk, part).state)
        entry = line.entry
        assert (entry.action, entry.who, entry.source) == (Action.PROMOTE, "me", staged(desk, part).id)
        assert (entry.before, entry.after, entry.forced) == ("", shown.id, "")
    said()
    for part in Part:
        go_live(desk, part)
    assert [line.endswith("is live already") for line in said()] == [True, True]
    assert len(half(desk, Part.APT).ledger.lines()) == 1


def test_what_was_copied_from_another_milestone_goes_nowhere(desk: Path) -> None:
    """All of its signatures are good, and its tests were green: there."""
    for bucket in STAGING.values():
        shutil.copytree(desk / "gs" / bucket / "72", desk / "gs" / bucket / "73")
    for part in Part:
        with pytest.raises(UsageError, match="73 shows nothing that was recorded"):
            promote.run(part, milestone=73, snapshot="", how=how(desk))
        with pytest.raises(ArtifactError, match="was made for milestone 72 of gs://"):
            promote.run(part, milestone=73, snapshot=staged(desk, part).id, how=how(desk))
    with pytest.raises(ArtifactError) as wrong:
        verify.run(milestone=73, live=False, out=str(desk), storage="directory")
    assert wrong.value.details.count("was made for milestone 72 of gs://") == 2


@pytest.mark.parametrize("part", Part)
def test_what_is_not_green_stays(tmp_path: Path, part: Part) -> None:
    publish(tmp_path)
    with pytest.raises(GateError, match="may not go live") as caught:
        go_live(tmp_path, part)
    assert "pfq: there is no evidence" in caught.value.details
    make_green(tmp_path, why=("crostini.Basic failed",))
    with pytest.raises(GateError) as caught:
        go_live(tmp_path, part)
    assert "pfq: not green" in caught.value.details
    assert not (tmp_path / "gs" / "cros-packages").exists()
    assert not (tmp_path / "gs" / "cros-containers").exists()


@pytest.mark.parametrize(
    ("boots", "why"), [({"booted": False}, "was not booted"), ({"failing": True}, "1 of 1 boot checks failed")]
)
def test_boot_checks_gate(tmp_path: Path, boots: dict[str, bool], why: str) -> None:
    publish(tmp_path, **boots)  # type: ignore[arg-type]
    make_green(tmp_path)
    for part in Part:
        with pytest.raises(GateError) as caught:
            go_live(tmp_path, part)
        assert why in caught.value.details


def test_a_gate_is_passed_by_with_a_name_and_a_reason(tmp_path: Path, said: Said) -> None:
    publish(tmp_path)
    for missing in ({"reason": ""}, {"who": ""}):
        with pytest.raises(UsageError, match="has to explain"):
            go_live(tmp_path, Part.APT, **{"force": True, "reason": "urgent", **missing})
    go_live(tmp_path, Part.APT, force=True, reason="urgent")
    [line] = half(tmp_path, Part.APT).ledger.lines()
    assert (line.entry.why, "pfq: there is no evidence" in line.entry.forced) == ("urgent", True)
    said()
    history.run(milestone=72, out=str(tmp_path), storage="directory")
    assert "because 'urgent'; FORCED though pfq: there is no evidence" in said()[1]


def test_a_plan_changes_nothing(desk: Path, said: Said) -> None:
    for part in Part:
        go_live(desk, part, plan=True)
    lines = said()
    assert any(line.startswith(f"would add 72/{INRELEASE} ") for line in lines)
    assert any(line.startswith(f"would add 72/{IMAGES} ") for line in lines)
    assert not (desk / "gs" / "cros-packages").exists()
    go_live(desk, Part.APT)
    said()
    go_live(desk, Part.APT, plan=True)
    assert said() == [f"{staged(desk, Part.APT).short} is live already"]


def test_a_rollback_of_the_repository_is_signed_anew(desk: Path, said: Said) -> None:
    go_live(desk, Part.APT)
    first = inrelease(desk)
    publish(desk, "72.2")
    make_green(desk)
    go_live(desk, Part.APT)
    second = inrelease(desk)
    assert indices_of(first) != indices_of(second)
    rollback.run(Part.APT, milestone=72, to="", how=how(desk, reason="it broke"))
    back = inrelease(desk)
    assert indices_of(back) == indices_of(first)
    assert date_of(back) >= date_of(second) > date_of(first) or date_of(back) > date_of(first)
    assert back not in (first, second)
    assert half(desk, Part.APT).shown_live() is not None
    # What was tested second can go live again: clients have seen a newer Date by now.
    go_live(desk, Part.APT)
    again = inrelease(desk)
    assert indices_of(again) == indices_of(second)
    assert date_of(again) >= date_of(back)
    actions = [line.entry.action.value for line in half(desk, Part.APT).ledger.lines()]
    assert actions == ["promote", "promote", "rollback", "promote"]
    history.run(milestone=72, out=str(desk), storage="directory")


def test_a_rollback_of_the_images(desk: Path) -> None:
    go_live(desk, Part.CONTAINER)
    first = live(desk, "cros-containers", IMAGES)
    for version in ("72.2", "72.3"):
        publish(desk, version)
        make_green(desk)
        go_live(desk, Part.CONTAINER)
    [product] = images(desk).products.values()
    assert len(product.versions) == 3
    rollback.run(Part.CONTAINER, milestone=72, to="", how=how(desk))
    [product] = images(desk).products.values()
    assert len(product.versions) == 2
    rollback.run(Part.CONTAINER, milestone=72, to="", how=how(desk))
    assert live(desk, "cros-containers", IMAGES) == first
    with pytest.raises(UsageError, match="nothing was live before"):
        rollback.run(Part.CONTAINER, milestone=72, to="", how=how(desk))
    go_live(desk, Part.CONTAINER)
    [product] = images(desk).products.values()
    newest = product.newest()
    assert newest is not None
    assert newest[0] == max(product.versions)
    history.run(milestone=72, out=str(desk), storage="directory")


def test_only_what_was_tested_is_named_live(desk: Path) -> None:
    """Staging's older versions, which nobody has tested, do not come along."""
    publish(desk, "72.2")
    publish(desk, "72.3")
    make_green(desk)
    go_live(desk, Part.CONTAINER)
    [product] = images(desk).products.values()
    [(serial, items)] = product.versions.items()
    assert (desk / "gs/cros-containers/72" / items["rootfs.squashfs"].path).read_text() == "rootfs.squashfs 72.3"
    assert sorted(
        path.name for path in (desk / "gs/cros-containers/72/images/debian/bookworm/amd64/default").iterdir()
    ) == [serial]


def test_an_older_snapshot_by_its_id(desk: Path) -> None:
    older = staged(desk, Part.CONTAINER)
    publish(desk, "72.2")
    make_green(desk)
    go_live(desk, Part.CONTAINER)
    promote.run(Part.CONTAINER, milestone=72, snapshot=older.short, how=how(desk))
    [product] = images(desk).products.values()
    newest = product.newest()
    assert newest is not None
    assert (desk / "gs/cros-containers/72" / newest[1]["rootfs.squashfs"].path).read_text() == "rootfs.squashfs 72.1"


def test_everything_green_goes_live_by_itself(desk: Path, said: Said) -> None:
    said()
    promote.auto(how=how(desk))
    lines = said()
    assert sum("shows" in line for line in lines) == 2
    assert sum(line.endswith("nothing is staged") for line in lines) >= 2
    promote.auto(how=how(desk))
    assert sum("is live already" in line for line in said()) == 2
    publish(desk, "72.2")
    promote.auto(how=how(desk))
    assert sum("stays in staging: pfq: there is no evidence" in line for line in said()) == 2


def test_a_milestone_without_containers(desk: Path) -> None:
    with pytest.raises(UsageError, match="milestone 68 has no containers"):
        promote.run(Part.APT, milestone=68, snapshot="", how=how(desk))


def test_milestone_69_is_at_the_top_of_every_bucket(tmp_path: Path) -> None:
    for version in ("69.1", "69.2"):
        publish(tmp_path, version, milestone=69)
        make_green(tmp_path, milestone=69)
        for part in Part:
            promote.run(part, milestone=69, snapshot="", how=how(tmp_path))
    for bucket in ("cros-packages", "cros-packages-staging"):
        top = {path.name for path in (tmp_path / "gs" / bucket).iterdir() if not path.name.startswith(".")}
        assert top - {"ledger.jsonl", "unreferenced.json"} == {"cros-archive-keyring.asc", "dists", "pool", "snapshots"}
    for part in Part:
        rollback.run(part, milestone=69, to="", how=how(tmp_path))
        shown = half(tmp_path, part, milestone=69).shown_live()
        assert shown is not None
    for live in (False, True):
        verify.run(milestone=69, live=live, out=str(tmp_path), storage="directory")


def test_a_ledger_that_somebody_changed(desk: Path) -> None:
    go_live(desk, Part.APT)
    path = desk / "gs/cros-packages/72/ledger.jsonl"
    good = path.read_bytes()
    for bad in (good.replace(b'"me"', b'"he"'), good[:-1], good[:-20] + b"\n", b""):
        path.write_bytes(bad)
        if bad:
            with pytest.raises(ArtifactError):
                history.run(milestone=72, out=str(desk), storage="directory")
    path.write_bytes(good)
    history.run(milestone=72, out=str(desk), storage="directory")


@pytest.mark.parametrize("kind", ["emulator", "stand-in"])
def test_in_google_cloud_storage(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied inside the store, with keys of a keystore; a throwaway key stays off it."""
    with PLACES[kind](tmp_path / "gs") as place:
        monkeypatch.setenv(EMULATOR_VARIABLE, place.url)
        for bucket in ("cros-packages", "cros-packages-staging", "cros-containers", "cros-containers-staging"):
            with place.bucket(bucket):
                pass
        for version in ("72.1", "72.2"):
            env = publish(tmp_path, version, store=Store())
            make_green(tmp_path, storage="gcs")
            for part in Part:
                with pytest.raises(SigningError, match="a throwaway key stays off gs://"):
                    go_live(tmp_path, part, storage="gcs")
                go_live(tmp_path, part, storage="gcs", keys=str(env.keystore_dir))
        for part in Part:
            rollback.run(part, milestone=72, to="", how=how(tmp_path, storage="gcs", keys=str(env.keystore_dir)))
            assert [line.entry.action.value for line in half(tmp_path, part, "gcs").ledger.lines()] == [
                "promote", "promote", "rollback",
            ]  # fmt: skip
        for live in (False, True):
            verify.run(milestone=72, live=live, out=str(tmp_path), storage="gcs")
