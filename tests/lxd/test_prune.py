"""Pruning: what may go, what never goes, and what an interruption leaves."""

import contextlib
import datetime as dt
import hashlib
import itertools
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.bucket import ABSENT, Bucket, Held, Kind, Source, Stat, Uploaded, ignore
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, ConflictError, UsageError
from lxd.metadata import ImageName
from lxd.pins import Version
from lxd.prune import NOTES, Outcome, Rules, choose, prune
from lxd.simplestreams import IMAGES, Images, Item, Product, serial_of

NAMES = [ImageName(release=release, arch="amd64", type="default") for release in ("bookworm", "trixie")]
NOW = dt.datetime(2026, 11, 24, 12, 10, tzinfo=dt.UTC)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
FILES = ("lxd.tar.xz", "rootfs.squashfs")


class Killed(BaseException):
    """What SIGKILL looks like from inside: nothing after it runs."""


@dataclass
class Memory:
    """A bucket in memory; it is killed at its write number `dies_at`, before or after it."""

    objects: dict[str, bytes] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    url: str = "gs://cros-containers-staging"
    dies_at: int = -1
    writes: int = 0
    rivals: list[bytes] = field(default_factory=list)
    threads: int = 1

    def stats(self, names: Collection[str]) -> dict[str, Stat]:
        return {name: stat for name in names if (stat := self.stat(name))}

    def claim(self, name: str, *, if_generation: int, publisher: str) -> Stat:
        raise NotImplementedError

    def copy_from(
        self, other: Bucket, source: Stat, name: str, *, kind: Kind, if_generation: int | None = None,
        publisher: str = "",
    ) -> Uploaded:  # fmt: skip
        raise NotImplementedError

    def stat(self, name: str) -> Stat | None:
        content = self.objects.get(name)
        if content is None:
            return None
        return Stat(name, len(content), hashlib.sha256(content).hexdigest(), self.generations.get(name, 1))

    def read(self, name: str) -> Held | None:
        stat = self.stat(name)
        return Held(self.objects[name], stat) if stat else None

    def names(self, prefix: str = "") -> list[str]:
        return sorted(name for name in self.objects if name.startswith(prefix))

    def upload(
        self,
        source: Source,
        name: str,
        *,
        kind: Kind,  # noqa: ARG002, as a Bucket has it
        if_generation: int | None = None,
        publisher: str = "",  # noqa: ARG002
        sha256: str = "",  # noqa: ARG002
        on_bytes: Callable[[int], None] = ignore,  # noqa: ARG002
    ) -> Uploaded:
        assert isinstance(source, bytes)
        if self.rivals and name.endswith(IMAGES):
            self._put(name, self.rivals.pop(0))
        have = self.stat(name)
        if if_generation is not None and if_generation != (have.generation if have else ABSENT):
            raise ConflictError(f"{name} was changed")
        self._dies()
        self._put(name, source)
        self._dies()
        stat = self.stat(name)
        assert stat is not None
        return Uploaded(stat, changed=True)

    def delete(self, name: str, *, if_generation: int | None = None) -> None:  # noqa: ARG002
        self._dies()
        self.objects.pop(name, None)

    def _put(self, name: str, content: bytes) -> None:
        self.objects[name] = content
        self.generations[name] = self.generations.get(name, 1) + 1

    def _dies(self) -> None:
        self.writes += 1
        if self.writes == self.dies_at:
            raise Killed


def folder(name: ImageName, serial: str) -> str:
    return f"images/debian/{name.folder.as_posix()}/{serial}"


def add(bucket: Memory, name: ImageName, when: dt.datetime, *, whole: bool = True, base: str = "") -> str:
    """Publish one version."""
    serial = serial_of(when)
    index = index_of(bucket) if f"72/{IMAGES}" in bucket.objects else Images()
    files = [*FILES, f"rootfs.{base}.vcdiff"] if base else list(FILES)
    items = {
        file: Item(
            ftype="squashfs.vcdiff" if file.endswith("vcdiff") else file,
            path=f"{folder(name, serial)}/{file}", size=10, sha256="0" * 64,
            delta_base=base if file.endswith("vcdiff") else "",
        )
        for file in files
    }  # fmt: skip
    for item in items.values():
        bucket.objects[f"72/{item.path}"] = b"0123456789"
    if not whole:
        del bucket.objects[f"72/{folder(name, serial)}/rootfs.squashfs"]
    product = index.products.get(name.product, Product.named(name))
    bucket.objects[f"72/{IMAGES}"] = index.with_product(name.product, product.with_version(serial, items)).write()
    return serial


def index_of(bucket: Memory) -> Images:
    return Images.read(bucket.objects[f"72/{IMAGES}"], "images.json")


def serials(bucket: Memory, name: ImageName = NAMES[0]) -> list[str]:
    return sorted(index_of(bucket).products[name.product].versions)


def run(bucket: Memory, *, keep: int = 2, now: dt.datetime = NOW, dry_run: bool = False, **relied_on: str) -> Outcome:
    pinned = {Version(NAMES[0].product, serial): who for who, serial in relied_on.items()}
    return prune(bucket, "72", relied_on=pinned, rules=Rules(keep=keep), now=now, dry_run=dry_run)


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
    run(late, keep=5, now=NOW + DAY)
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
    assert len(prune(real, "72", relied_on={}, rules=rules, now=NOW).waiting) == 6
    assert len(prune(real, "72", relied_on={}, rules=rules, now=NOW + HOUR).deleted) == 6
    assert {name.split("/")[-2] for name in real.names("72/images/")} == set(five[3:])


# Coarse, so that what matters happens often: ages around the limits, and more versions than are kept.
ages = st.integers(0, 12).map(lambda half_days: NOW - half_days * DAY / 2)
catalogues = st.dictionaries(
    st.tuples(st.sampled_from(NAMES), ages), st.sampled_from([True, True, False]), min_size=6, max_size=16
)
rules_of_all_kinds = st.builds(
    Rules, keep=st.integers(1, 4), min_age=st.sampled_from([0, 0, 1, 5]).map(lambda days: dt.timedelta(days=days))
)


def filled(catalogue: dict[tuple[ImageName, dt.datetime], bool]) -> Memory:
    bucket = Memory()
    add(bucket, NAMES[0], NOW - 90 * DAY)
    for (name, when), whole in catalogue.items():
        add(bucket, name, when, whole=whole)
    return bucket


def whole_versions(bucket: Memory, index: Images) -> Iterator[Version]:
    for name, product in index.products.items():
        for serial, items in product.versions.items():
            if all(f"72/{item.path}" in bucket.objects for item in items.values()):
                yield Version(name, serial)


@settings(deadline=None)
@given(catalogues, rules_of_all_kinds, st.data())
def test_what_never_goes(
    catalogue: dict[tuple[ImageName, dt.datetime], bool], rules: Rules, data: st.DataObject
) -> None:
    """Pruned again and again, killed at any write: what must stay is whole, and what a client may have cached too."""
    bucket = filled(catalogue)
    before = index_of(bucket)
    whole = sorted(whole_versions(bucket, before))
    relied_on = dict.fromkeys(data.draw(st.sets(st.sampled_from(whole), max_size=2)), "somebody")
    must_stay = set(relied_on)
    for product in before.products:
        must_stay |= set([version for version in whole if version.product == product][-rules.keep :])
    must_stay |= {version for version in whole if NOW - time(version) < rules.min_age - DAY}
    cached = [(NOW, before)]
    for step in range(5):
        now = NOW + step * dt.timedelta(minutes=25)
        bucket.writes, bucket.dies_at = 0, data.draw(st.integers(-1, 12))
        with contextlib.suppress(Killed):
            prune(bucket, "72", relied_on=relied_on, rules=rules, now=now)
        index = index_of(bucket)
        cached.append((now, index))
        assert must_stay <= set(whole_versions(bucket, index))
        # An index stays with clients for an hour after another one has replaced it.
        for (_, old), (replaced, _) in itertools.pairwise(cached):
            if now - replaced < HOUR:
                assert set(whole_versions(bucket, old)) >= set(whole) & versions(old)


def time(version: Version) -> dt.datetime:
    return dt.datetime.strptime(version.serial, "%Y%m%d_%H:%M").replace(tzinfo=dt.UTC)


def versions(index: Images) -> set[Version]:
    return {Version(name, serial) for name, product in index.products.items() for serial in product.versions}


@settings(deadline=None)
@given(catalogues, rules_of_all_kinds)
def test_what_goes_is_gone_in_the_end(catalogue: dict[tuple[ImageName, dt.datetime], bool], rules: Rules) -> None:
    bucket = filled(catalogue)
    prune(bucket, "72", relied_on={}, rules=rules, now=NOW)
    prune(bucket, "72", relied_on={}, rules=replace(rules, min_age=99 * DAY), now=NOW + HOUR)
    folders = {name.rsplit("/", 1)[0] for name in bucket.names("72/images/")}
    assert len(folders) == len(versions(index_of(bucket)))


@given(catalogues, rules_of_all_kinds)
def test_a_choice_is_made_once(catalogue: dict[tuple[ImageName, dt.datetime], bool], rules: Rules) -> None:
    """Having pruned, there is nothing left to prune."""
    bucket = filled(catalogue)
    there = {name.removeprefix("72/") for name in bucket.objects}
    for name, product in index_of(bucket).products.items():
        gone, spared = choose(name, product, there=there, relied_on=(), rules=rules, now=NOW)
        assert spared == []
        assert choose(name, product.without_versions(gone), there=there, relied_on=(), rules=rules, now=NOW) == ([], [])
