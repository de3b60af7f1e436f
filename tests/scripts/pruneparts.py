"""Images of one product, published, promoted, put back and pruned in this process, on a clock of the test's own."""

import atexit
import contextlib
import datetime as dt
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path

from common.bucket import Bucket
from common.bucket_directory import DirectoryBucket
from common.keyring import ATTESTATION, throwaway_key
from common.retention import Rules
from common.signing import Signer, homedir, import_secret_keys
from common.snapshots import Origin, Part, Snapshot, Snapshots
from lxd.built import BuiltImage
from lxd.metadata import ImageName
from lxd.publish import publish_images
from lxd.simplestreams import IMAGES, Images
from lxd.state import container_state
from scripts import promote, rollback, verify
from scripts.prune import Outcome, Pruning
from scripts.releases import LIVE, STAGING, Half

NAME = ImageName(release="bookworm", arch="amd64", type="default")
PRODUCT = NAME.product
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
NEVER = dt.timedelta(0)


@functools.cache
def attestation(keys: Path) -> Signer:
    """The attestation key of a desk, ready to sign until this process ends."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    home = stack.enter_context(homedir())
    return Signer(home, import_secret_keys(home, [throwaway_key(keys, ATTESTATION).secret]))


class Desk:
    """The two buckets of images of milestone 72, and what a clock says that only goes forward."""

    def __init__(
        self, out: Path, *, staging: Bucket | None = None, live: Bucket | None = None, signer: Signer | None = None
    ) -> None:
        self.out, self.milestone = out, 72
        self.clock = dt.datetime.now(dt.UTC).replace(microsecond=0)
        self.half = Half(
            Part.CONTAINER, self.milestone,
            Snapshots(staging or DirectoryBucket(out / "gs" / STAGING[Part.CONTAINER]), self.milestone),
            Snapshots(live or DirectoryBucket(out / "gs" / LIVE[Part.CONTAINER]), self.milestone),
        )  # fmt: skip
        self.signer = signer or attestation(out / "keys")
        self.how = promote.How(out=str(out), who="me")

    def copy(self, out: Path) -> "Desk":
        """The same again, elsewhere."""
        shutil.copytree(self.out, out, dirs_exist_ok=True)  # times too, which are generations
        made = Desk(out, signer=self.signer)
        made.clock = self.clock
        return made

    def publish(self, number: int, *, names: tuple[ImageName, ...] = (NAME,)) -> Snapshot:
        """Publish a version of each image, and record it."""
        built = []
        for name in names:
            folder = self.out / "made" / str(number) / name.folder
            folder.mkdir(parents=True, exist_ok=True)
            for file in ("lxd.tar.xz", "incus.tar.xz", "rootfs.squashfs"):
                (folder / file).write_text(f"{file} {name} {number}")
            built.append(BuiltImage.read(name, folder))
        staging = self.half.staging
        publish_images(staging.bucket, self.milestone, built, now=self.clock, publisher="job")
        state = container_state(staging.bucket, self.milestone)
        assert state is not None
        staging.publish_keyring(self.signer, publisher="job")
        made = Snapshot(
            part=Part.CONTAINER, milestone=self.milestone, bucket=staging.bucket.url, created=self.clock, state=state,
            origin=Origin(job="job"),
        )  # fmt: skip
        staging.add(made, self.signer, publisher="job")
        return made

    def promote(self, snapshot: Snapshot) -> Snapshot:
        """Make a snapshot of staging live, whatever its tests say; what live shows then."""
        for _line in promote.promote(self.half, snapshot, [], self.how):
            pass
        return self.live()

    def rollback(self, to: str = "") -> Snapshot:
        """Put a live snapshot back."""
        rollback.put(self.half, to, self.how)
        return self.live()

    def live(self) -> Snapshot:
        """What live shows."""
        shown = self.half.shown_live()
        assert shown is not None
        return shown

    def prune(
        self, *, keep: int = 1, older_than: dt.timedelta = NEVER, tast: Path | None = None, plan: bool = False
    ) -> tuple[Outcome, Outcome]:
        """Prune staging and live."""
        rules = Rules(keep=keep, older_than=older_than)
        staging, live = (
            Pruning(self.half, each, rules, tast=tast, now=self.clock, publisher="prune by me").run(plan=plan)
            for each in (self.half.staging, self.half.live)
        )
        return staging, live

    def wrong(self) -> list[str]:
        """What verify finds in both buckets."""
        return [line for each in (self.half.staging, self.half.live) for line in verify.check(self.half, each)]

    def index(self, snapshots: Snapshots) -> Images:
        """What clients are shown."""
        held = snapshots.bucket.read(f"72/{IMAGES}")
        return Images.read(held.content, "it") if held and held.content else Images()

    def serials(self, snapshots: Snapshots) -> list[str]:
        """The versions of the image in the index, the oldest first."""
        return sorted(self.index(snapshots).products[PRODUCT].versions)


def folders(bucket: Bucket) -> list[str]:
    """The versions of the image that have objects."""
    return sorted({name.split("/")[-2] for name in bucket.names("72/images/debian/bookworm/amd64/default/")})


def serial_in(snapshot: Snapshot) -> str:
    """The version of the image in a snapshot."""
    [serial] = {path.split("/")[-2] for path in snapshot.objects if path.startswith("images/debian/bookworm/")}
    return serial


def items_of(index: Images) -> Iterator[str]:
    """The objects that an index names."""
    for product in index.products.values():
        for items in product.versions.values():
            yield from (f"72/{item.path}" for item in items.values())
