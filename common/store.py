"""Where buckets are: directories below one of this machine, or Google Cloud Storage."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from common.bucket import Bucket
from common.bucket_directory import DirectoryBucket
from common.errors import UsageError
from common.settings import nearest

GCS = "gs://"


class Storage(StrEnum):
    """The words for --storage."""

    DIRECTORY = "directory"
    GCS = "gcs"


def parse_storage(word: str) -> Storage:
    """What --storage says. UsageError: it is unknown."""
    if word not in tuple(Storage):
        raise UsageError(f"unknown storage {word!r}", hint=nearest(word, tuple(Storage)))
    return Storage(word)


@dataclass(frozen=True)
class Store:
    """A place with buckets.

    Attributes:
        root: the directory they are in; None for Google Cloud Storage.
    """

    root: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "Store":
        """What CROS_STORE says: `gs://`, or a directory."""
        return cls(None if text == GCS else Path(text))

    def __str__(self) -> str:
        """What `parse` reads."""
        return GCS if self.root is None else str(self.root)


def open_bucket(store: Store, name: str) -> Bucket:
    """The bucket `name` of a store; one that is a directory is made with its first object.

    Raises:
        ConfigError: Google Cloud Storage is meant, and there are no credentials for it.
    """
    if store.root is not None:
        return DirectoryBucket(store.root / name)
    from common.bucket_gcs import GcsBucket  # not at the top: it takes most of a second

    return GcsBucket.open(name)
