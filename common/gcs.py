"""What our bucket of Google Cloud Storage needs around google-cloud-storage: patience, digests, errors of ours."""

import base64
import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import google_crc32c
import requests
from google.api_core import exceptions as answers
from google.api_core.retry import Retry
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from common.bucket import BLOCK, Stat
from common.errors import ConfigError, NetworkError


@dataclass(frozen=True)
class Patience:
    """How long to wait for the storage, in seconds.

    Attributes:
        first, longest: before the second try of a request, and between two at the most; doubled from one to the next.
        deadline: until a request that keeps failing is given up.
        request: for the storage to say anything at all.
    """

    first: float = 0.5
    longest: float = 30.0
    deadline: float = 300.0
    request: float = 60.0

    def how(self) -> dict[str, Any]:
        """What the library's calls are told; it knows what is worth another try (408, 429, 5xx, a lost connection)."""
        retry: Retry = DEFAULT_RETRY.with_delay(self.first, self.longest, 2.0).with_timeout(self.deadline)
        return {"retry": retry, "timeout": self.request}


@dataclass(frozen=True)
class Digest:
    """What a content is: size in bytes, SHA-256 in hex, CRC32C in base64 as the storage writes it."""

    size: int
    sha256: str
    crc32c: str

    @classmethod
    def of(cls, content: BinaryIO) -> "Digest":
        """Read a content to its end."""
        content.seek(0)
        size, sha256, crc32c = 0, hashlib.sha256(), 0
        while block := content.read(BLOCK):
            size += len(block)
            sha256.update(block)
            crc32c = google_crc32c.extend(crc32c, block)
        return cls(size, sha256.hexdigest(), base64.b64encode(crc32c.to_bytes(4, "big")).decode())

    def is_of(self, stat: Stat) -> bool:
        """Whether an object has this content."""
        return (self.size, self.sha256, self.crc32c) == (stat.size, stat.sha256, stat.crc32c)


class Counted(io.RawIOBase):
    """A content as the library reads it, which tells how far that is: no byte is counted twice."""

    def __init__(self, content: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        self._content, self._on_bytes, self._told = content, on_bytes, 0

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._content.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Read from elsewhere."""
        return self._content.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        block = self._content.read(size)
        if (new := self._content.tell() - self._told) > 0:
            self._told += new
            self._on_bytes(new)
        return block


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn what the library raises about `what` into our errors.

    Raises:
        ConfigError: no credentials, no right, no bucket.
        NetworkError: no good answer in time.
    """
    try:
        yield
    except GoogleAuthError as err:
        raise ConfigError(
            f"no credentials for {what}: {err}",
            hint="gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS names a key file",
        ) from err
    except (answers.Forbidden, answers.Unauthorized) as err:
        raise ConfigError(
            f"{what}: no right to do this", details=str(err.message), hint="roles/storage.objectAdmin has it"
        ) from err
    except answers.NotFound as err:
        raise ConfigError(f"{what}: there is no such bucket", hint="gcloud storage buckets create makes it") from err
    except (answers.GoogleAPIError, InvalidResponse, DataCorruption, requests.RequestException) as err:
        raise NetworkError(
            f"{what}: the storage does not answer as it should", details=str(getattr(err, "cause", None) or err),
            hint="what is published is as it was; run the same command again",
        ) from err  # fmt: skip
