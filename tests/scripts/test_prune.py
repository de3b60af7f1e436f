"""`invoke prune`: what goes, what stays and why, in both storages."""

import contextlib
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.bucket import Kind
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, UsageError
from common.retention import Rules
from common.snapshots import Part
from lxd.metadata import ImageName
from lxd.pins import Version, pin
from lxd.simplestreams import IMAGES
from scripts import prune, verify
from scripts.prune import Pruning, lines, parse_age
from scripts.releases import LIVE, STAGING
from tests.common.buckets import EMULATOR_VARIABLE, PLACES
from tests.scripts.pruneparts import DAY, HOUR, NAME, PRODUCT, Desk, folders, serial_in
from tests.scripts.releaseparts import half, make_green, publish, staged
from tests.support import Checkout


def everything(out: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (out / "gs").rglob("*")
        if path.is_file()
    }


def test_what_nobody_needs_leaves_the_index_now_and_the_bucket_an_hour_later(desk: Desk) -> None:
    staging, live = desk.half.staging, desk.half.live
    all_of_them = folders(staging.bucket)
    first, second = desk.prune()
    # The newest, what is live and what was before it stay.
    wanted = [all_of_them[number] for number in (2, 3, 4)]
    assert [serial_in(each) for each in first.gone] == [all_of_them[1], all_of_them[0]]
    assert [serial_in(each) for each in second.gone] == [all_of_them[0]]
    assert (desk.serials(staging), desk.serials(live)) == (wanted, wanted[:2])
    assert folders(staging.bucket) == all_of_them
    assert desk.wrong() == []
    desk.clock += HOUR - dt.timedelta(seconds=1)
    assert [each.swept.deleted for each in desk.prune()] == [{}, {}]
    desk.clock += dt.timedelta(seconds=1)
    first, second = desk.prune()
    assert folders(staging.bucket) == wanted
    assert folders(live.bucket) == wanted[:2]
    assert len(staging.ids()) == 3
    assert len(live.ids()) == 2
    assert sum(first.swept.deleted.values()) > 100
    assert desk.wrong() == []
    left = [name for each in (staging, live) for name in each.bucket.names("72/snapshots/objects/")]
    assert len(left) == 5 * 1 + 2  # images.json of each; index.json is the same in all of them


def test_what_was_made_live_later_is_newer(desk: Desk) -> None:
    """Also when all was done within a second."""
    all_of_them = folders(desk.half.staging.bucket)
    assert [serial_in(each) for each in desk.half.live.all()] == [all_of_them[number] for number in (3, 2, 0)]


def test_why_each_stays(desk: Desk) -> None:
    staging, live = desk.prune(keep=2, older_than=2 * DAY)
    assert [list(why) for _each, why in staging.kept] == [
        ["one of the newest 2", "younger than --older-than", "staged now"],
        ["one of the newest 2", "live by the ledger in gs://cros-containers"],
        ["live before the last change in gs://cros-containers", "what a rollback puts back in gs://cros-containers"],
    ]
    # Promotions were recorded when this test ran.
    assert next(list(why) for _each, why in live.kept) == ["one of the newest 2", "live now"]


def test_the_snapshot_that_is_shown_stays_the_same(desk: Desk) -> None:
    """It is what was tested: with fewer old versions beside it, it is no other."""
    before = [desk.half.staged(), desk.half.shown_live()]
    desk.prune()
    assert [desk.half.staged(), desk.half.shown_live()] == before
    assert desk.publish(4).id != before[0].id  # type: ignore[union-attr]  # recorded anew only where nobody looks


def test_an_index_that_is_not_what_pruning_leaves_is_found(desk: Desk) -> None:
    desk.prune()
    path = desk.out / "gs" / STAGING[Part.CONTAINER] / "72" / IMAGES
    good = path.read_text()
    path.unlink()  # the copy that was recorded is another file
    for old, new in (('"aliases": "debian', '"aliases": "Debian'), ('"size": 3', '"size": 4'), ("  ", " "),
                     ("amd64:default", "amd64:other")):  # fmt: skip
        assert old in good
        path.write_text(good.replace(old, new, 1))
        with contextlib.suppress(ArtifactError):  # nor is it one that can be read
            assert desk.half.staged() is None, new
    assert desk.wrong() != []
    path.write_text(good)
    assert desk.half.staged() is not None


def test_a_rollback_after_a_prune(desk: Desk) -> None:
    """The index that comes back does not name what was pruned since."""
    for _ in range(2):
        desk.prune()
        desk.clock += HOUR
    back = desk.rollback()
    assert desk.serials(desk.half.live) == [serial_in(back)]
    assert desk.wrong() == []
    with pytest.raises(UsageError, match="has no snapshot"):
        desk.rollback()
    # What was live before the last change may still come back.
    desk.prune()
    desk.clock += HOUR
    desk.prune()
    assert serial_in(desk.rollback(desk.half.ledger.lines()[-1].entry.before)) > serial_in(back)
    assert desk.wrong() == []


def test_a_plan_names_every_object_and_changes_nothing(desk: Desk) -> None:
    before = everything(desk.out)
    planned = desk.prune(plan=True)
    assert everything(desk.out) == before
    said = [line for each, outcome in zip((desk.half.staging, desk.half.live), planned, strict=True)
            for line in lines(each, outcome, plan=True)]  # fmt: skip
    serial = folders(desk.half.staging.bucket)[0]
    assert f"  {PRODUCT} {serial}: would be taken out of streams/v1/images.json" in said
    [line] = [each for each in said[: said.index("gs://cros-containers/72:")] if f"{serial}/rootfs.squashfs" in each]
    assert line.startswith(f"  would delete images/debian/bookworm/amd64/default/{serial}/rootfs.squashfs (")
    done = desk.prune()
    assert [each.swept for each in done] == [each.swept for each in planned]
    desk.clock += HOUR
    planned = desk.prune(plan=True)
    assert [each.swept for each in desk.prune()] == [each.swept for each in planned]
    assert all(each.swept.deleted for each in planned)


def test_with_nothing_to_do_nothing_is_written(desk: Desk) -> None:
    for _ in range(2):
        desk.prune()
        desk.clock += HOUR
    before = everything(desk.out)
    assert [(each.gone, each.removed, each.swept.deleted) for each in desk.prune()] == [([], [], {})] * 2
    assert everything(desk.out) == before


def test_young_snapshots_stay_whatever_their_number(desk: Desk) -> None:
    assert desk.prune(older_than=99 * DAY)[0].gone == []


def test_a_snapshot_that_lost_an_object_does_not_count_as_one_of_the_newest(desk: Desk) -> None:
    """The last good one that is not live stays."""
    newest = desk.half.staged()
    assert newest is not None
    desk.publish(5)
    broken = desk.publish(6)
    desk.publish(7)
    lost = next(path for path in broken.objects if path.endswith("rootfs.squashfs"))
    desk.half.staging.bucket.delete(f"72/{lost}")
    staging, _live = desk.prune(keep=2)
    kept = [each.id for each, why in staging.kept if "one of the newest 2" in why]
    assert broken.id not in kept
    assert len(kept) == 2


def test_what_somebody_pins_stays(desk: Desk, tmp_path: Path) -> None:
    bucket = desk.half.staging.bucket
    one, two, *_others = folders(bucket)
    folder = f"{bucket.url}/72/images/debian/bookworm/amd64/default"
    tast = tmp_path / "tast-tests"
    tast.mkdir()
    (tast / "a.tar.xz.external").write_text(json.dumps({"url": f"{folder}/{one}/lxd.tar.xz"}))
    pin = {"format": 1, "why": "kept by hand", "urls": [f"{folder}/{two}/lxd.tar.xz"]}
    bucket.upload(json.dumps(pin).encode(), "72/pins/mine.json", kind=Kind.POINTER)
    for _ in range(2):
        outcome, _live = desk.prune(tast=tast)
        desk.clock += HOUR
    assert outcome.pinned == {
        Version(PRODUCT, one): "a.tar.xz.external",
        Version(PRODUCT, two): f"{bucket.url}/72/pins/mine.json (kept by hand)",
    }
    assert {one, two} <= set(desk.serials(desk.half.staging))
    assert {one, two} <= set(folders(bucket))
    assert desk.wrong() == []


def test_what_is_pinned_when_it_has_left_the_index_stays(desk: Desk) -> None:
    bucket = desk.half.staging.bucket
    old = folders(bucket)[0]
    desk.prune()
    folder = f"72/images/debian/bookworm/amd64/default/{old}"
    pin(bucket, 72, "late", why="", urls=[f"{bucket.url}/{folder}/lxd.tar.xz"], publisher="her")
    for _ in range(2):
        desk.clock += HOUR
        desk.prune()
    assert len(bucket.names(f"{folder}/")) == 3
    assert old not in desk.serials(desk.half.staging)


def test_a_pin_or_a_ledger_that_cannot_be_read_stops_all(desk: Desk) -> None:
    bucket = desk.half.staging.bucket
    bucket.upload(b"x", "72/pins/mine.json", kind=Kind.POINTER)
    with pytest.raises(ArtifactError, match=r"72/pins/mine\.json is not JSON"):
        desk.prune()
    bucket.delete("72/pins/mine.json")
    desk.half.live.bucket.upload(b"x", "72/ledger.jsonl", kind=Kind.POINTER)
    with pytest.raises(ArtifactError, match="ends in the middle of a line"):
        desk.prune()


def test_a_damaged_snapshot_stops_all(desk: Desk) -> None:
    """Nobody knows what it needs."""
    old = desk.half.staging.all()[-1]
    path = desk.out / "gs" / STAGING[Part.CONTAINER] / "72" / "snapshots" / f"{old.id}.json"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="is missing, or not what its name says"):
        desk.prune()


def test_what_is_none_of_ours_is_left_alone(desk: Desk) -> None:
    bucket = desk.half.staging.bucket
    strangers = ["72/images/README", "72/snapshots/README", "72/other", "73/images/debian/x/amd64/default/x", "pool/x"]
    for name in strangers:
        bucket.upload(b"x", name, kind=Kind.POINTER)
    for _ in range(2):
        desk.prune()
        desk.clock += DAY
    assert set(strangers) <= set(bucket.names())


def test_a_product_without_new_versions_keeps_its_newest(desk: Desk) -> None:
    other = ImageName(release="trixie", arch="amd64", type="default")
    desk.publish(5, names=(NAME, other))
    for number in (6, 7):
        desk.clock += DAY
        desk.publish(number)
    for _ in range(2):
        desk.prune()
        desk.clock += HOUR
    assert len(desk.index(desk.half.staging).products[other.product].versions) == 1
    assert desk.wrong() == []


def test_what_a_killed_promotion_shows_stays(desk: Desk) -> None:
    """It was killed before it recorded anything; the same promotion finishes after the prune."""
    snapshots = desk.half.staging.all()
    old = snapshots[-2]  # 1: not live so far
    (live := desk.half.live.bucket).upload(b"", "72/x", kind=Kind.POINTER)
    ledger, before = live.read("72/ledger.jsonl"), set(live.names("72/snapshots/"))
    assert ledger is not None
    desk.promote(old)
    live.upload(ledger.content, "72/ledger.jsonl", kind=Kind.POINTER)
    for name in set(live.names("72/snapshots/")) - before:
        live.delete(name)
    for _ in range(2):
        staging, _live = desk.prune()
        desk.clock += HOUR
    assert ["shown in gs://cros-containers"] in [list(why) for _each, why in staging.kept]
    desk.promote(old)
    assert desk.wrong() == []


@pytest.fixture(params=["emulator", "stand-in"])
def in_google(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk whose buckets are in what stands for Google Cloud Storage."""
    with PLACES[request.param](tmp_path) as place:
        monkeypatch.setenv(EMULATOR_VARIABLE, place.url)
        with place.bucket(STAGING[Part.CONTAINER]) as staging, place.bucket(LIVE[Part.CONTAINER]) as live:
            yield Desk(tmp_path, staging=staging, live=live)


def test_in_google_cloud_storage(in_google: Desk) -> None:
    desk = in_google
    for number in range(3):
        made = desk.publish(number)
        if number != 1:
            desk.promote(made)
        desk.clock += DAY
    first = desk.rollback()
    for _ in range(2):
        desk.prune()
        desk.clock += HOUR
    assert len(folders(desk.half.staging.bucket)) == 2
    assert serial_in(desk.rollback(desk.half.ledger.lines()[-1].entry.before)) > serial_in(first)
    assert desk.wrong() == []


def test_the_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Packages, copies, records and evidence of what nobody needs go; by-hash copies stay for two days."""
    for version in ("72.1", "72.2"):
        publish(tmp_path, version)
    make_green(tmp_path)
    one = half(tmp_path, Part.APT)
    bucket = DirectoryBucket(tmp_path / "gs" / STAGING[Part.APT])
    by_hash = [name for name in bucket.names("72/dists/") if "/by-hash/" in name]
    shown = staged(tmp_path, Part.APT)

    def pruned(now: dt.datetime) -> None:
        Pruning(one, one.staging, Rules(keep=1, older_than=dt.timedelta(0)), tast=None, now=now, publisher="me").run(
            plan=False
        )

    now = dt.datetime.now(dt.UTC)
    pruned(now)
    pruned(now + HOUR)
    assert one.staging.ids() == [shown.id]
    assert {name.removeprefix("72/") for name in bucket.names("72/pool/")} == {
        path for path in shown.objects if path.startswith("pool/")
    }
    copies = {each.sha256 for path, each in shown.objects.items() if path in shown.state.replaced}
    assert {name.rsplit("/", 1)[1] for name in bucket.names("72/snapshots/objects/")} == copies
    assert [name for name in bucket.names("72/dists/") if "/by-hash/" in name] == by_hash
    pruned(now + 2 * DAY + HOUR)
    left = {name.removeprefix("72/") for name in bucket.names("72/dists/") if "/by-hash/" in name}
    assert left == {path for path in shown.objects if "/by-hash/" in path}
    capsys.readouterr()
    prune.run(
        milestone=72, keep=1, older_than="14d", tast="", who="", plan=False, out=str(tmp_path), storage="directory"
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "gs://cros-packages-staging/72:"
    assert said[-2:] == [
        "3 snapshots stay (3 younger than --older-than, 2 one of the newest 1, 2 staged now); 0 go",
        "0 objects deleted, 0.0 MB freed",
    ]
    verify.run(milestone=72, live=False, out=str(tmp_path), storage="directory")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"milestone": 68}, "milestone 68 has no containers"),
        ({"milestone": 0}, "no milestone is named"),
        ({"keep": 0}, "--keep 0 would keep no snapshot"),
        ({"older_than": "7"}, "--older-than '7' is no age"),
        ({"older_than": "-7d"}, "--older-than '-7d' is no age"),
        ({"tast": "/nowhere"}, "'/nowhere' is no folder"),
    ],
)
def test_arguments_that_make_no_sense_are_named(tmp_path: Path, arguments: dict[str, object], said: str) -> None:
    usual = {"milestone": 72, "keep": 1, "older_than": "7d", "tast": "", "who": "", "plan": False,
             "out": str(tmp_path), "storage": "directory"}  # fmt: skip
    with pytest.raises(UsageError, match=said):
        prune.run(**{**usual, **arguments})  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "hours"), [("7d", 168), ("12h", 12), ("30m", 0.5), ("0d", 0)])
def test_ages(text: str, hours: float) -> None:
    assert parse_age(text) == dt.timedelta(hours=hours)


def test_the_task_ends_with_an_exit_code(pristine: Checkout) -> None:
    finished = pristine.run("invoke", "prune", "--milestone", "68")
    assert finished.code == UsageError.exit_code
    assert finished.output.startswith("error: milestone 68 has no containers")
    finished = pristine.run("invoke", "prune", "--milestone", "72", "--keep", "2", "--older-than", "1d", "--plan")
    assert finished.code == 0
    assert finished.output.splitlines()[-4:] == [
        "gs://cros-containers/72:", "  nothing was recorded", "0 snapshots stay; 0 go",
        "0 objects would be deleted now, 0.0 MB freed",
    ]  # fmt: skip
