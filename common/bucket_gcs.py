"""A bucket of Google Cloud Storage: every write under a generation precondition, every byte checked on both ends.

Imported only where such a bucket is used, as google-cloud-storage takes most of a second to load.
"""

import hashlib
import io
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from google.api_core import exceptions as answers
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from requests.adapters import HTTPAdapter

from common.bucket import (
    ABSENT,
    Bucket,
    Held,
    Kind,
    Source,
    Stat,
    Uploaded,
    changed_source,
    check_name,
    check_source,
    content_type,
    ignore,
    moved,
    other_content,
    reading,
)
from common.errors import ArtifactError, NetworkError, UsageError
from common.gcs import Counted, Digest, Patience, translated
from common.parallel import in_parallel

THREADS = 32  # more make 500 small files no faster; also the size of the pool of connections
CHUNK = 8 << 20  # what a resumable upload sends, and after a failure sends again, at a time
_MULTIPART = 8 << 20  # the library sends what is not larger in one request
_ATTEMPTS = 4  # against wrong bytes, and against others who write the same object all the time
_AGAIN = (400, 410)  # changed on its way; the session of a resumable upload is gone
_SHA256, _PUBLISHER, _WRITER, _CLAIM = "sha256", "publisher", "writer", "claim"


@dataclass(frozen=True)
class _Wanted:
    """How an object is to be written: see Bucket.upload. `writer` is this write's alone."""

    name: str
    digest: Digest
    kind: Kind
    if_generation: int | None
    publisher: str
    writer: str = field(default_factory=lambda: uuid.uuid4().hex)
    claim: bool = False

    def metadata(self) -> dict[str, str]:
        said = {_SHA256: self.digest.sha256, _PUBLISHER: self.publisher, _WRITER: self.writer}
        return said | ({_CLAIM: "1"} if self.claim else {})


class GcsBucket:
    """A bucket of Google Cloud Storage.

    An object's SHA-256, which the storage does not know, is in its metadata, and so is who published it. A write whose
    answer is lost may find itself refused when it is sent again: then what is there is compared with what was sent.
    """

    threads = THREADS

    def __init__(self, client: storage.Client, name: str, patience: Patience) -> None:
        # Not blocking: a download that is tried again does not give its first connection back.
        adapter = HTTPAdapter(pool_connections=THREADS, pool_maxsize=THREADS)
        for scheme in ("https://", "http://"):
            client._http.mount(scheme, adapter)
        client._bucket_metadata_cache = None  # asks for what telemetry wants to know, in the background
        self._client, self._bucket = client, client.bucket(name)
        self._how: dict[str, Any] = patience.how()

    @classmethod
    def open(cls, name: str, patience: Patience | None = None) -> "GcsBucket":
        """With the application default credentials, or none where STORAGE_EMULATOR_HOST names an emulator.

        Raises:
            ConfigError: there are no credentials.
        """
        with translated(f"gs://{name}"):
            return cls(storage.Client(project=None), name, patience or Patience())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @property
    def url(self) -> str:
        """Its gs:// URL."""
        return f"gs://{self._bucket.name}"

    def stat(self, name: str) -> Stat | None:
        """See Bucket."""
        check_name(self.url, name)
        with translated(f"{self.url}/{name}"):
            blob = self._bucket.get_blob(name, **self._how)
            return self._stat(blob) if blob else None

    def stats(self, names: Collection[str]) -> dict[str, Stat]:
        """See Bucket. One listing tells about a thousand; it begins and ends where the names do."""
        if len(names) <= THREADS:
            found = in_parallel(self.stat, names, threads=THREADS)
            return {stat.name: stat for stat in found if stat}
        wanted = {name for name in names if check_name(self.url, name)}
        with translated(self.url):
            listed = self._client.list_blobs(
                self._bucket,
                start_offset=min(wanted),
                end_offset=max(wanted) + "\0",
                fields="items(name,size,generation,crc32c,metadata),nextPageToken",
                **self._how,
            )
            return {blob.name: self._stat(blob) for blob in listed if blob.name in wanted}

    def read(self, name: str) -> Held | None:
        """See Bucket."""
        with translated(f"{self.url}/{name}"):
            for _ in range(_ATTEMPTS):
                if (stat := self.stat(name)) is None:
                    return None
                try:
                    content = self._download(stat.name, stat.generation)
                except answers.NotFound:  # replaced meanwhile
                    continue
                found = Digest.of(io.BytesIO(content))
                if found.is_of(stat):
                    return Held(content, stat)
                if (found.size, found.crc32c) == (stat.size, stat.crc32c):
                    raise ArtifactError(
                        f"{self.url}/{name} is not what was published there",
                        details=f"published: sha256 {stat.sha256}\nthere:     sha256 {found.sha256}",
                        hint="somebody wrote it by other means; publish it again under a new name",
                    )
        raise NetworkError(
            f"{self.url}/{name} cannot be read: {_ATTEMPTS} times it came with wrong bytes, or changed meanwhile",
            hint="run the same command again",
        )

    def names(self, prefix: str = "") -> list[str]:
        """See Bucket."""
        with translated(self.url):
            listed = self._client.list_blobs(
                self._bucket, prefix=prefix, fields="items(name),nextPageToken", **self._how
            )
            return sorted(blob.name for blob in listed)

    def upload(
        self,
        source: Source,
        name: str,
        *,
        kind: Kind,
        if_generation: int | None = None,
        publisher: str = "",
        sha256: str = "",
        on_bytes: Callable[[int], None] = ignore,
    ) -> Uploaded:
        """See Bucket."""
        check_name(self.url, name)
        with reading(source) as content, translated(f"{self.url}/{name}"):
            digest = Digest.of(content)
            check_source(source, sha256, digest.sha256)
            wanted = _Wanted(name, digest, kind, if_generation, publisher)
            stream = Counted(content, on_bytes)
            return self._write(wanted, lambda generation: self._send(stream, wanted, generation))

    def claim(self, name: str, *, if_generation: int, publisher: str) -> Stat:
        """See Bucket."""
        with translated(f"{self.url}/{name}"):
            have = self.stat(name)
            if (have.generation if have else ABSENT) != if_generation:
                raise moved(self.url, name, have)
            digest = Digest(have.size, have.sha256, have.crc32c) if have else Digest.of(io.BytesIO())
            wanted = _Wanted(name, digest, Kind.POINTER, if_generation, publisher, claim=True)
            try:
                if have is None:
                    return self._send(Counted(io.BytesIO(), ignore), wanted, ABSENT)
                return self._rewrite(self, have, name, Kind.POINTER.value, wanted.metadata(), if_generation)
            except (answers.PreconditionFailed, answers.NotFound) as err:
                blob = self._bucket.get_blob(name, **self._how)
                if blob and (blob.metadata or {}).get(_WRITER) == wanted.writer:
                    return self._stat(blob)
                raise moved(self.url, name, self._stat(blob) if blob else None) from err

    def renew(self, name: str, *, if_generation: int, publisher: str) -> Stat:
        """See Bucket."""
        with translated(f"{self.url}/{name}"):
            blob = self._bucket.get_blob(name, **self._how)
            have = self._stat(blob) if blob else None
            if have is None or have.generation != if_generation:
                raise moved(self.url, name, have)
            digest = Digest(have.size, have.sha256, have.crc32c)
            wanted = _Wanted(name, digest, Kind.POINTER, if_generation, publisher)
            try:
                return self._rewrite(self, have, name, blob.cache_control, wanted.metadata(), if_generation)
            except (answers.PreconditionFailed, answers.NotFound) as err:
                raise moved(self.url, name, self.stat(name)) from err

    def copy_from(
        self,
        other: Bucket,
        source: Stat,
        name: str,
        *,
        kind: Kind,
        if_generation: int | None = None,
        publisher: str = "",
    ) -> Uploaded:
        """See Bucket. Nothing of it passes through this machine."""
        if not isinstance(other, GcsBucket):
            raise UsageError(f"{other.url} and {self.url} are not in the same storage", hint="--storage names one")
        check_name(self.url, name)
        with translated(f"{self.url}/{name}"):
            found = other.stat(source.name)
            if found is None or (found.generation, found.sha256) != (source.generation, source.sha256):
                raise changed_source(other.url, source, found)
            digest = Digest(found.size, found.sha256, found.crc32c)
            wanted = _Wanted(name, digest, kind, if_generation, publisher)

            def copy(generation: int) -> Stat:
                try:
                    return self._rewrite(other, found, name, kind.value, wanted.metadata(), generation)
                except (answers.NotFound, answers.PreconditionFailed) as err:
                    if (there := other.stat(source.name)) != found:
                        raise changed_source(other.url, source, there) from err
                    raise

            return self._write(wanted, copy)

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        """See Bucket."""
        check_name(self.url, name)
        with translated(f"{self.url}/{name}"):
            try:
                self._bucket.blob(name).delete(if_generation_match=if_generation, **self._how)
            except answers.NotFound:
                return
            except answers.PreconditionFailed as err:
                if (have := self.stat(name)) is not None:
                    raise moved(self.url, name, have) from err

    def _write(self, wanted: _Wanted, send: Callable[[int], Stat]) -> Uploaded:
        """Write an object with `send`, which is given the generation to replace."""
        digest, generation, ours, why = wanted.digest, wanted.if_generation, ABSENT, ""
        for _ in range(_ATTEMPTS):
            if generation != ABSENT or wanted.if_generation is None:
                have = self.stat(wanted.name)
                if have and have.generation != ours and (done := self._kept(wanted, have)):
                    return done
                if wanted.if_generation is None:
                    generation = have.generation if have else ABSENT
            try:
                sent = send(generation or ABSENT)
            except answers.PreconditionFailed as err:
                blob = self._bucket.get_blob(wanted.name, **self._how)
                have = self._stat(blob) if blob else None
                if have and (done := self._kept(wanted, have)):
                    mine = (blob.metadata or {}).get(_WRITER) == wanted.writer  # an answer of ours was lost
                    return Uploaded(done.stat, changed=mine)
                if wanted.if_generation is not None:
                    raise moved(self.url, wanted.name, have) from err
                continue
            except (answers.GoogleAPICallError, DataCorruption) as err:
                if isinstance(err, answers.GoogleAPICallError) and err.code not in _AGAIN:
                    raise
                why = str(err)
                continue
            if digest.is_of(sent):
                return Uploaded(sent, changed=True)
            generation = ours = sent.generation  # what we wrote is wrong: the next try replaces exactly that
        if ours:
            self.delete(wanted.name, if_generation=ours)
        raise NetworkError(
            f"{self.url}/{wanted.name} cannot be written: {_ATTEMPTS} times other bytes arrived, or others were faster",
            details=why,
            hint="run the same command again",
        )

    def _kept(self, wanted: _Wanted, have: Stat) -> Uploaded | None:
        """The object that is there, where it is what is wanted. ConflictError: it has an immutable name."""
        if wanted.digest.is_of(have) and not have.claimed:
            return Uploaded(have, changed=False)
        if wanted.kind is Kind.IMMUTABLE:
            raise other_content(self.url, have, wanted.digest.size, wanted.digest.sha256)
        return None

    def _send(self, content: "Counted", wanted: _Wanted, generation: int) -> Stat:
        """Upload once: the CRC32C goes along, so that the storage refuses other bytes before anybody can read them."""
        blob = self._bucket.blob(wanted.name, chunk_size=CHUNK)
        blob.metadata, blob.cache_control = wanted.metadata(), wanted.kind.value
        content.seek(0)
        # The library would check the answer of a large upload itself, and then delete whatever has this name by then.
        large = wanted.digest.size > _MULTIPART
        how = {"checksum": None, "crc32c_checksum_value": wanted.digest.crc32c} if large else {"checksum": "crc32c"}
        blob.upload_from_file(
            content, size=wanted.digest.size, content_type=content_type(wanted.name),
            if_generation_match=generation, **how, **self._how,
        )  # fmt: skip
        return self._stat(blob)

    def _rewrite(
        self, other: "GcsBucket", source: Stat, name: str, cache: str, metadata: dict[str, str], generation: int
    ) -> Stat:
        """Copy one generation of an object over one generation of another."""
        blob = self._bucket.blob(name)
        blob.metadata, blob.cache_control, blob.content_type = metadata, cache, content_type(name)
        pinned = other._bucket.blob(source.name, generation=source.generation)
        token: str | None = None
        while True:
            token, _done, _total = blob.rewrite(
                pinned, token=token, if_generation_match=generation, **self._how,
            )  # fmt: skip
            if token is None:
                return self._stat(blob)

    def _stat(self, blob: storage.Blob) -> Stat:
        metadata = blob.metadata or {}
        # Somebody else's object has no SHA-256: it has to be read for it.
        sha256 = metadata.get(_SHA256) or hashlib.sha256(self._download(blob.name, blob.generation)).hexdigest()
        return Stat(
            blob.name, blob.size, sha256, blob.generation, metadata.get(_PUBLISHER, ""),
            claimed=_CLAIM in metadata, crc32c=blob.crc32c or "",
        )  # fmt: skip

    def _download(self, name: str, generation: int) -> bytes:
        """The bytes of one generation, as they are stored; `read` checks them."""
        content = io.BytesIO()
        self._bucket.blob(name, generation=generation).download_to_file(
            content, raw_download=True, checksum=None, **self._how
        )
        return content.getvalue()
