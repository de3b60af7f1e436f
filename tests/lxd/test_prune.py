"""Pruning: what may go, what never goes, and what an interruption leaves."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest

from common.bucket import Held, Kind, Source, Uploaded
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, ConflictError, UsageError
from lxd.metadata import ImageName
from lxd.pins import Version
from lxd.prune import NOTES, Outcome, Rules, prune
from lxd.simplestreams import IMAGES, serial_of
from tests.lxd.pruning import DAY, FILES, HOUR, NAMES, NOW, Memory, add, folder, index_of


def serials(bucket: Memory, name: ImageName = NAMES[0]) -> list[str]:
    return sorted(index_of(bucket).products[name.product].versions)


def run(bucket: Memory, *, keep: int = 2, now: dt.datetime = NOW, dry_run: bool = False, **relied_on: str) -> Outcome:
    pinned = {Version(NAMES[0].product, serial): who for who, serial in relied_on.items()}
    return prune(bucket, 72, relied_on=pinned, rules=Rules(keep=keep), now=now, dry_run=dry_run)


@pytest.fixture
def bucket() -> Memory:
    return Memory()


@pytest.fixture
def five(bucket: Memory) -> list[str]:
    """Five versions, 10 to 50 days old, the oldest first."""
    return [add(bucket, NAMES[0], NOW - days * DAY) for days in (50, 40, 30, 20, 10)]


def test_old_versions_leave_the_index_now_and_the_bucket_an_hour_later(bucket: Memory, five: list[str]) -> None:
    outcome = run(bucket)
    assert [version.serial for version in outcome.removed] == five[:3]
    assert outcome.removed[Version(NAMES[0].product, five[0])] == 20
    assert serials(bucket) == five[3:]
    assert outcome.deleted == {}
    assert len(outcome.waiting) == 6
    assert {due for _, due in outcome.waiting.values()} == {NOW + HOUR}
    assert len(bucket.names("72/images/")) == 10
    assert run(bucket, now=NOW + HOUR - dt.timedelta(seconds=1)).deleted == {}
    outcome = run(bucket, now=NOW + HOUR)
    assert sum(outcome.deleted.values()) == 60
    assert {name.split("/")[-2] for name in bucket.names("72/images/")} == set(five[3:])
    assert json.loads(bucket.objects[f"72/{NOTES}"])["objects"] == {}


def test_with_nothing_to_do_nothing_is_written(bucket: Memory, five: list[str]) -> None:
    run(bucket)
    run(bucket, now=NOW + HOUR)
    bucket.writes = 0
    outcome = run(bucket, now=NOW + 2 * HOUR)
    assert (outcome.removed, outcome.deleted, outcome.waiting, bucket.writes) == ({}, {}, {}, 0)


def test_a_dry_run_says_the_same_and_changes_nothing(bucket: Memory, five: list[str]) -> None:
    before = dict(bucket.objects)
    said = run(bucket, dry_run=True)
    assert bucket.objects == before
    assert bucket.writes == 0
    assert run(bucket) == said
    later = run(bucket, now=NOW + HOUR, dry_run=True)
    assert len(later.deleted) == 6
    assert bucket.objects.keys() >= before.keys()


def test_young_versions_stay_whatever_their_number(bucket: Memory) -> None:
    for hours in range(1, 9):
        add(bucket, NAMES[0], NOW - hours * HOUR)
    assert run(bucket, keep=1).removed == {}


def test_a_version_somebody_relies_on_stays_and_who_is_said(bucket: Memory, five: list[str]) -> None:
    outcome = run(bucket, keep=1, live=five[1])
    assert outcome.spared == {Version(NAMES[0].product, five[1]): "live"}
    assert serials(bucket) == [five[1], five[4]]


def test_objects_of_a_version_a_pin_names_stay_without_the_index(bucket: Memory, five: list[str]) -> None:
    run(bucket)
    run(bucket, now=NOW + HOUR, pinned=five[0])
    assert {name.split("/")[-2] for name in bucket.names("72/images/")} == {five[0], *five[3:]}


def test_the_last_whole_version_stays_and_broken_ones_do_not_count(bucket: Memory) -> None:
    good = add(bucket, NAMES[0], NOW - 50 * DAY)
    broken = [add(bucket, NAMES[0], NOW - days * DAY, whole=False) for days in (40, 30, 20)]
    assert run(bucket, keep=1).removed == {}
    assert serials(bucket) == [good, *broken]


def test_a_delta_goes_with_its_base(bucket: Memory, five: list[str]) -> None:
    newest = add(bucket, NAMES[0], NOW - 9 * DAY, base=five[2])
    run(bucket)
    items = index_of(bucket).products[NAMES[0].product].versions[newest]
    assert set(items) == set(FILES)
    outcome = run(bucket, now=NOW + HOUR)
    assert f"{folder(NAMES[0], newest)}/rootfs.{five[2]}.vcdiff" in outcome.deleted


def test_what_a_dead_publication_left_goes_when_it_is_old(bucket: Memory, five: list[str]) -> None:
    young, old = serial_of(NOW - 2 * HOUR), serial_of(NOW - 7 * HOUR)
    for serial in (young, old):
        bucket.objects[f"72/{folder(NAMES[0], serial)}/lxd.tar.xz"] = b"left"
    run(bucket, keep=5)
    outcome = run(bucket, keep=5, now=NOW + HOUR)
    assert outcome.deleted == {f"{folder(NAMES[0], old)}/lxd.tar.xz": 4}
    outcome = run(bucket, keep=5, now=NOW + 4 * HOUR)
    assert outcome.deleted == {f"{folder(NAMES[0], young)}/lxd.tar.xz": 4}


def test_what_is_no_file_of_an_image_is_left_alone(bucket: Memory, five: list[str]) -> None:
    strangers = ["72/images/README", f"72/{folder(NAMES[0], 'latest')}/lxd.tar.xz"]
    for name in strangers:
        bucket.objects[name] = b"x"
    run(bucket)
    outcome = run(bucket, now=NOW + DAY)
    assert sorted(f"72/{path}" for path in outcome.unknown) == sorted(strangers)
    assert set(strangers) <= bucket.objects.keys()


def test_an_object_the_index_names_again_is_not_deleted(bucket: Memory, five: list[str]) -> None:
    before = bucket.objects[f"72/{IMAGES}"]
    run(bucket)
    bucket.objects[f"72/{IMAGES}"] = before
    run(bucket, keep=5, now=NOW + DAY)
    assert len(bucket.names("72/images/")) == 10


def test_an_object_that_is_named_just_before_it_would_be_deleted_stays(bucket: Memory, five: list[str]) -> None:
    before = bucket.objects[f"72/{IMAGES}"]
    run(bucket)

    class Renamed(Memory):
        """The index names everything again from its second reading on."""

        def read(self, name: str) -> Held | None:
            held = super().read(name)
            if name.endswith(IMAGES):
                self.objects[name] = before
            return held

    late = Renamed(bucket.objects, bucket.generations)
    assert run(late, keep=5, now=NOW + DAY).deleted == {}
    assert len(bucket.names("72/images/")) == 10


def test_a_publisher_in_between_keeps_what_it_published(bucket: Memory, five: list[str]) -> None:
    rival = replace_index(bucket)
    bucket.rivals = [rival]
    outcome = run(bucket)
    assert len(outcome.removed) == 4
    assert serials(bucket) == [five[4], serial_of(NOW)]


def replace_index(bucket: Memory) -> bytes:
    """The index with one more version, which is not in the bucket yet, only its objects."""
    copy = replace(bucket, objects=dict(bucket.objects))
    serial = add(copy, NAMES[0], NOW)
    for file in FILES:
        bucket.objects[f"72/{folder(NAMES[0], serial)}/{file}"] = b"0123456789"
    return copy.objects[f"72/{IMAGES}"]


@pytest.mark.parametrize("write", [1, 2])
def test_what_was_done_is_said_though_the_notes_were_changed_meanwhile(
    bucket: Memory, five: list[str], write: int
) -> None:
    """Another prune writes its notes before ours: before anything is deleted, or afterwards."""
    run(bucket)
    six = add(bucket, NAMES[0], NOW - 9 * DAY)

    class Contended(Memory):
        """Somebody changes the notes before write number `write` to them."""

        def upload(self, source: Source, name: str, **more: object) -> Uploaded:
            nonlocal write
            if name.endswith(NOTES):
                write -= 1
                if write == 0:
                    self._put(name, self.objects[name])
            return super().upload(source, name, **more)  # type: ignore[arg-type]

    late = Contended(bucket.objects, bucket.generations)
    outcome = run(late, now=NOW + HOUR)
    assert [version.serial for version in outcome.removed] == [five[3]]
    assert outcome.removed[Version(NAMES[0].product, five[3])] == 20
    assert sum(outcome.deleted.values()) == 60
    assert {due for _, due in outcome.waiting.values()} == {NOW + 2 * HOUR}
    assert serials(late) == [five[4], six]


def test_a_prune_that_always_loses_gives_up(bucket: Memory, five: list[str]) -> None:
    bucket.rivals = [bucket.objects[f"72/{IMAGES}"]] * 9
    with pytest.raises(ConflictError):
        run(bucket)
    assert len(bucket.rivals) == 4


@pytest.mark.parametrize("content", [b"x", b"{}", b'{"format": 2}', b'{"format": 1, "objects": {"a": {"since": "x"}}}'])
def test_damaged_notes_are_refused(bucket: Memory, five: list[str], content: bytes) -> None:
    bucket.objects[f"72/{NOTES}"] = content
    with pytest.raises(ArtifactError, match=r"gs://cros-containers-staging/72/unreferenced\.json"):
        run(bucket, keep=5)


def test_without_an_index_nothing_is_dangling(bucket: Memory) -> None:
    bucket.objects[f"72/{folder(NAMES[0], serial_of(NOW - DAY))}/lxd.tar.xz"] = b"x"
    with pytest.raises(ArtifactError, match=r"images\.json is missing"):
        run(bucket)


def test_keeping_none_is_refused() -> None:
    with pytest.raises(UsageError, match="--keep 0"):
        Rules(keep=0)


def test_a_directory_is_pruned_too(tmp_path: Path, bucket: Memory, five: list[str]) -> None:
    """The real bucket of a desk."""
    real = DirectoryBucket(tmp_path / "cros-containers-staging")
    for name, content in bucket.objects.items():
        real.upload(content, name, kind=Kind.POINTER)
    rules = Rules(keep=2)
    assert len(prune(real, 72, relied_on={}, rules=rules, now=NOW).waiting) == 6
    assert len(prune(real, 72, relied_on={}, rules=rules, now=NOW + HOUR).deleted) == 6
    assert {name.split("/")[-2] for name in real.names("72/images/")} == set(five[3:])
