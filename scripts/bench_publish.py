"""How long a publication to Google Cloud Storage takes: one upload after another, against ours, at 50 ms a request."""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from common import tools
from common.bucket import ABSENT, Bucket
from common.bucket_gcs import GcsBucket
from common.errors import ReleaseError, reported
from common.files import ROOT, sha256_of, workspace
from common.gcs import Patience
from common.publication import Item, Published, publish
from common.waiting import wait_until

FILES = 1000
MEGABYTES = 2000
IMAGES = 8
DELAY = 0.05  # seconds a request
POINTER = "72/InRelease"


@dataclass(frozen=True)
class Result:
    """Wall seconds: of uploads one after another, and of ours; `again` with nothing changed, which sent `sent`."""

    serial_small: float
    serial_all: float
    small: float
    all: float
    again: float
    sent: int


@contextmanager
def storage(*buckets: str, delay: float) -> Iterator[str]:
    """The tests' stand-in for the storage, as a process of its own; its URL."""
    argv: list[tools.Arg] = [sys.executable, "-m", "tests.common.gcs_stand_in", *buckets, "--delay", str(delay)]
    with tools.started(argv, cwd=ROOT) as process:

        def url() -> str:
            if not process.alive():
                raise ReleaseError("the stand-in for the storage did not start", details=process.tail())
            return next((line.strip() for line in process.tail().splitlines() if line.startswith("http://")), "")

        yield wait_until(url, "the stand-in for the storage", timeout=60)


def client(url: str) -> Client:
    """A client of the library's for that storage."""
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return Client(project=None, credentials=nobody, client_options={"api_endpoint": url})


def make_files(place: Path, count: int, size: int, folder: str) -> list[Item]:
    """Files of `size` bytes, each with another content."""
    items = []
    for number in range(count):
        path = place / folder / f"{number:04}"
        path.parent.mkdir(parents=True, exist_ok=True)
        block = hashlib.sha256(f"{folder} {number}".encode()).digest() * (1 << 15)
        with path.open("wb") as file:
            for _ in range(size // len(block)):
                file.write(block)
            file.write(block[: size % len(block)])
        items.append(Item(f"72/{folder}/{path.name}", path, sha256_of(path)))
    return items


def one_by_one(url: str, name: str, items: Sequence[Item]) -> None:
    """What a loop over the library's upload does."""
    bucket = client(url).bucket(name)
    for item in items:
        bucket.blob(item.name).upload_from_filename(str(item.source), if_generation_match=0)


def ours(bucket: Bucket, items: Sequence[Item]) -> Published:
    """Our publication of the same, on top of what is there."""
    stat = bucket.stat(POINTER)
    return publish(
        bucket, immutable=items, pointer=Item(POINTER, f"{len(items)}".encode()),
        if_generation=stat.generation if stat else ABSENT, publisher="bench", milestone=72,
    )  # fmt: skip


def timed(work: Callable[[], object]) -> float:
    """How long it takes, in seconds."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def measure(*, files: int = FILES, megabytes: int = MEGABYTES, delay: float = DELAY) -> Result:
    """Publish `files` small files and `megabytes` MB of images both ways, and once more ours.

    Args:
        files: each of 4 kB.
        megabytes: of all the images together.
        delay: seconds that the storage takes for each request.
    """
    with workspace("bench") as place, storage("serial", "small", "all", delay=delay) as url:
        small = make_files(place, files, 4000, "pool")
        large = make_files(place, IMAGES, megabytes * 1_000_000 // IMAGES, "images")

        serial_small = timed(lambda: one_by_one(url, "serial", small))
        serial_large = timed(lambda: one_by_one(url, "serial", large))
        with_small, with_all = (GcsBucket(client(url), name, Patience()) for name in ("small", "all"))
        took_small = timed(lambda: ours(with_small, small))
        took_all = timed(lambda: ours(with_all, [*small, *large]))
        done: list[Published] = []
        again = min(timed(lambda: done.append(ours(with_all, [*small, *large]))) for _ in range(3))
        return Result(
            serial_small=serial_small, serial_all=serial_small + serial_large, small=took_small, all=took_all,
            again=again, sent=sum(each.uploaded for each in done),
        )  # fmt: skip


def table(result: Result) -> str:
    """The result as Markdown."""
    less = result.all / result.again
    rows = [
        "| | one after another, s | ours, s | ratio |",
        "| --- | --- | --- | --- |",
        f"| small files | {result.serial_small:.1f} | {result.small:.2f} | {result.serial_small / result.small:.0f} |",
        f"| all of it | {result.serial_all:.1f} | {result.all:.2f} | {result.serial_all / result.all:.1f} |",
        "",
        f"The same again, the best of three: {result.again:.2f} s, 1/{less:.0f} of the first time; it sent",
        f"{result.sent} objects.",
    ]
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, and print its table."""
    parser = argparse.ArgumentParser(prog="bench_publish", description=__doc__)
    parser.add_argument("--files", type=int, default=FILES, help="how many small files")
    parser.add_argument("--megabytes", type=int, default=MEGABYTES, help="of images, in MB")
    parser.add_argument("--delay", type=float, default=DELAY, help="seconds a request")
    options = parser.parse_args(argv)
    with reported():
        print(table(measure(files=options.files, megabytes=options.megabytes, delay=options.delay)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
