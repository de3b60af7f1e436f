"""Pruning, whatever images there are: killed anywhere, it takes nothing that must stay, and it ends."""

import contextlib
import datetime as dt
import itertools
from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from lxd.metadata import ImageName
from lxd.pins import Version
from lxd.prune import Rules, choose, prune
from lxd.simplestreams import Images
from tests.lxd.pruning import DAY, HOUR, NAMES, NOW, Killed, Memory, add, index_of

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
            prune(bucket, 72, relied_on=relied_on, rules=rules, now=now)
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


@given(catalogues, rules_of_all_kinds)
def test_what_goes_is_gone_in_the_end(catalogue: dict[tuple[ImageName, dt.datetime], bool], rules: Rules) -> None:
    bucket = filled(catalogue)
    prune(bucket, 72, relied_on={}, rules=rules, now=NOW)
    prune(bucket, 72, relied_on={}, rules=replace(rules, min_age=99 * DAY), now=NOW + HOUR)
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
