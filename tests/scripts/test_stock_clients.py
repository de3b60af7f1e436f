"""Stock clients of a live milestone see one version whole, whatever is published, promoted, put back, pruned meanwhile.

STOCK_CLIENT_CHANGES=200 makes so many changes on each storage; a few without it.
"""

import contextlib
import datetime as dt
import itertools
import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from common.aptrepo import KEYRING
from common.errors import UsageError
from common.milestones import object_name
from common.retention import Rules
from common.serve import serving
from common.snapshots import Part
from common.store import Store
from lxd.daemon import lxd
from scripts import promote, rollback
from scripts.promote import How
from scripts.prune import Pruning
from tests.common.buckets import EMULATOR_VARIABLE, PLACES, Place
from tests.scripts.releaseparts import half, make_green, publish
from tests.scripts.stockclients import Apt, Launcher, Loop, SmallImages, https_for

pytestmark = [pytest.mark.clients, pytest.mark.timeout(7200)]

CHANGES = int(os.environ.get("STOCK_CLIENT_CHANGES", "12"))
# An hour, which is how long clients may use an index, passes in half a minute for what prunes.
FASTER = 120
BUCKETS = ("cros-packages", "cros-packages-staging", "cros-containers", "cros-containers-staging")


class Desk:
    """Somebody who changes milestone 72 at random."""

    def __init__(self, place: Path, storage: str) -> None:
        self.place, self.storage = place, storage
        self.make_files = SmallImages(place / "images")
        self.dice, self.begun = random.Random(72), dt.datetime.now(dt.UTC)
        self.keys, self.versions = "", 0
        self.done: Counter[str] = Counter()

    @property
    def how(self) -> How:
        return How(out=str(self.place), storage=self.storage, keys=self.keys, who="me")

    def publish(self) -> None:
        self.versions += 1
        store = None if self.storage == "directory" else Store()
        env = publish(self.place, f"72.{self.versions}", store=store, make_files=self.make_files)
        self.keys = str(env.keystore_dir) if store else ""
        make_green(self.place, storage=self.storage)

    def promote(self) -> None:
        for part in Part:
            promote.run(part, milestone=72, snapshot="", how=self.how)

    def put_back(self) -> None:
        for part in Part:
            try:
                rollback.run(part, milestone=72, to="", how=self.how)
            except UsageError as err:  # who goes back and back comes to what was pruned
                if "old ones are pruned" not in str(err):
                    raise
                self.done["in vain"] += 1

    def prune(self) -> None:
        now = self.begun + FASTER * (dt.datetime.now(dt.UTC) - self.begun)
        for part in Part:
            each = half(self.place, part, self.storage)
            for snapshots in (each.staging, each.live):
                rules = Rules(keep=2, older_than=dt.timedelta(0))
                Pruning(each, snapshots, rules, tast=None, now=now, publisher="prune").run(plan=False)

    def change(self) -> None:
        """Change something."""
        action = self.dice.choices(("publish", "promote", "put_back", "prune"), (4, 3, 2, 1))[0]
        getattr(self, action)()
        self.done[action] += 1


@contextlib.contextmanager
def clients(
    place: Path, http: str, https: str, ca: Path, keyring: bytes, versions: Mapping[str, str]
) -> Iterator[list[Loop]]:
    """An apt and an LXD in their loops, each of which has been through one round."""
    with lxd(certificates=ca) as daemon:
        apt = Apt(place / "root", f"{http}/cros-packages/72", keyring)
        launcher = Launcher(daemon, place / "client", ca, f"{https}/cros-containers/72", versions)
        loops = [Loop(apt.turn), Loop(launcher.turn)]
        with contextlib.ExitStack() as stack:
            for loop in loops:
                stack.enter_context(loop.running())
            for loop in loops:
                loop.one_more()
            yield loops


@contextlib.contextmanager
def served(place: Place, folder: Path) -> Iterator[tuple[str, str, Path]]:
    """What a storage serves, over HTTP and HTTPS."""
    if place.url:
        with https_for(place.url, folder / "serve") as (https, ca):
            yield place.url, https, ca
    else:
        with serving(place.folder, state=folder / "serve") as here:
            yield here.http, here.https, here.ca


@pytest.mark.parametrize("kind", ["directory", "emulator"])
def test_clients_see_one_version_whole(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path / "desk", "directory" if kind == "directory" else "gcs")
    with PLACES[kind](desk.place / "gs") as place:
        if place.url:
            monkeypatch.setenv(EMULATOR_VARIABLE, place.url)
            for bucket in BUCKETS:
                with place.bucket(bucket):
                    pass
        for _ in range(2):
            desk.publish()
            desk.promote()
        held = half(desk.place, Part.APT, desk.storage).live.bucket.read(object_name(72, KEYRING))
        assert held is not None
        with (
            served(place, tmp_path) as (http, https, ca),
            clients(tmp_path, http, https, ca, held.content, desk.make_files.versions) as loops,
        ):
            for _ in range(CHANGES):
                desk.change()
            for loop in loops:
                loop.one_more()
    print(f"{kind}: {dict(desk.done)}; rounds of apt and lxc: {[len(loop.seen) for loop in loops]}, "
          f"versions seen: {[len(set(loop.seen)) for loop in loops]}")  # fmt: skip
    assert [loop.wrong for loop in loops] == [[], []]


def test_a_sync_file_by_file_shows_them_mixtures(tmp_path: Path) -> None:
    """What the loops are for: the same clients, and two versions that replace each other as gsutil rsync -d does it."""
    desk = Desk(tmp_path / "desk", "directory")
    trees: list[Path] = []
    for _ in range(2):
        desk.publish()
        desk.promote()
        trees.append(Path(shutil.copytree(desk.place / "gs", tmp_path / f"tree-{len(trees)}")))
        for bucket in BUCKETS:
            shutil.rmtree(desk.place / "gs" / bucket)
    shown = Path(shutil.copytree(trees[0], tmp_path / "shown"))
    keyring = (shown / "cros-packages/72" / KEYRING).read_bytes()
    with (
        served(Place(shown), tmp_path) as (http, https, ca),
        clients(tmp_path, http, https, ca, keyring, desk.make_files.versions) as loops,
    ):
        ways = itertools.cycle(reversed(trees))
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not all(loop.wrong for loop in loops):
            sync(next(ways), shown)
    print(f"plain sync: {[len(loop.wrong) for loop in loops]} rounds of apt and lxc went wrong, "
          f"{[len(loop.seen) for loop in loops]} went well")  # fmt: skip
    assert all(loop.wrong for loop in loops)
    assert all(loop.seen for loop in loops)


def sync(source: Path, shown: Path) -> None:
    """Copy one file after the other, in the order of their names, and delete what is not there any more."""
    names = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    for name in names:
        if not (shown / name).exists() or (shown / name).read_bytes() != (source / name).read_bytes():
            (shown / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, shown / name)
        threading.Event().wait(0.01)  # what a request takes
    for path in sorted(path for path in shown.rglob("*") if path.is_file()):
        if path.relative_to(shown) not in names:
            path.unlink()
