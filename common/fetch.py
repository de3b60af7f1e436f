"""Downloads of pinned files: into a cache by their SHA-256, resumed, retried, and checked before anybody uses them."""

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import tenacity
import urllib3

from common.errors import ArtifactError, DeadlineError, NetworkError, from_os_error
from common.files import forget_old, sha256_of, write_atomically
from common.progress import report
from common.waiting import wait_until

log = logging.getLogger(__name__)

_BLOCK = 1 << 16  # small: a block that is cut off is lost
_SAID_EVERY = 1 << 20
# What a server says when it may answer better later; any other error of theirs is final.
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_WRONG_TWICE = 2  # a file that is wrong when it was fetched afresh will not become right


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on.

    Attributes:
        attempts: requests that may fail one after the other without a byte gained.
        first, longest: seconds between two attempts; doubled from the first to the longest, with some jitter.
        connect, read: seconds a server has to accept, and then to send something.
        whole: seconds the file may take altogether.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 30.0
    connect: float = 15.0
    read: float = 60.0
    whole: float = 3600.0


PATIENT = Patience()


class _Failed(Exception):
    """An attempt that failed in a way that may pass: what happened, and the seconds the server wants us to wait."""

    def __init__(self, what: str, *, after: float = 0.0) -> None:
        super().__init__(what)
        self.after = after


def fetch(url: str, *, sha256: str, cache: Path, patience: Patience = PATIENT) -> Path:
    """The file of a URL, from the cache or the server; where it is in the cache.

    Of several at once for the same file one downloads and the others wait. What a killed download got is gone on with.

    Args:
        url: http or https.
        sha256: what its content has to have, in hex.
        cache: a directory that may be deleted at any time, and shared between runs. Files unused for two weeks go.
        patience: how long to go on.

    Raises:
        NetworkError: naming the URL and what each attempt came to.
        ArtifactError: the server has other content; it is not kept.
        DeadlineError: it takes longer than `patience.whole`.
        DiskFullError: no space left; what has been downloaded stays, to go on with.
    """
    cache.mkdir(parents=True, exist_ok=True)
    place = cache / sha256
    with _turn(cache / f".{sha256}.lock", url, timeout=patience.whole):
        if not _good(place, sha256):
            try:
                _Download(url, sha256, place, patience).run()
            except OSError as err:
                raise from_os_error(err) from err
        os.utime(place)  # used just now
    forget_old(cache, "*")
    return place


@contextlib.contextmanager
def _turn(lock: Path, url: str, *, timeout: float) -> Iterator[None]:
    """Whoever is in this block is alone with a file of the cache; a killed process is no longer in it."""
    with lock.open("w") as file:

        def free() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        wait_until(free, f"another download of {url}", timeout=timeout)
        yield


def _good(place: Path, sha256: str) -> bool:
    """Whether the cache has the file; one that went bad there is thrown away."""
    if not place.exists():
        return False
    if sha256_of(place) == sha256:
        return True
    log.warning("%s is damaged; fetching it again", place)
    place.unlink()
    return False


class _Download:
    """One file on its way into the cache: what is there so far, and what the server called the version it is of."""

    def __init__(self, url: str, sha256: str, place: Path, patience: Patience) -> None:
        self.url, self.sha256, self.place, self.patience = url, sha256, place, patience
        self.part = place.with_name(f".{sha256}.part")
        self.version = place.with_name(f".{sha256}.version")
        self.name = urlsplit(url).path.rsplit("/", 1)[-1] or url
        self.deadline = time.monotonic() + patience.whole
        self.failures: list[str] = []
        self.wrong: list[str] = []  # digests

    def run(self) -> None:
        with requests.Session() as session:
            while True:
                before = self._have()
                try:
                    self._attempts(session)
                except _Failed as err:
                    if self._have() > before:  # it came further: that is no reason to give up
                        continue
                    raise NetworkError(
                        f"{self.url} could not be fetched: {err}",
                        details="\n".join(self.failures[-10:]),
                        hint=f"check the network, then run this again: it goes on after {self._have()} bytes",
                    ) from err
                return

    def _attempts(self, session: requests.Session) -> None:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Failed),
            stop=tenacity.stop_after_attempt(self.patience.attempts),
            wait=self._pause,
            before_sleep=self._note,
            reraise=True,
        )
        retrying(self._attempt, session)

    def _pause(self, state: tenacity.RetryCallState) -> float:
        spread = tenacity.wait_exponential_jitter(
            multiplier=self.patience.first, max=self.patience.longest, jitter=self.patience.first / 2
        )
        return min(max(spread(state), _failure(state).after), self.patience.longest)

    def _note(self, state: tenacity.RetryCallState) -> None:
        self.failures.append(f"attempt {state.attempt_number}: {_failure(state)}")
        log.warning("%s: %s; trying again", self.url, _failure(state))

    def _attempt(self, session: requests.Session) -> None:
        """Get what is missing, and put the file in its place if it is the right one."""
        try:
            self._get(session)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as err:
            raise _Failed(_plainly(err)) from err
        found = sha256_of(self.part)
        if found == self.sha256:
            self.part.chmod(0o644)
            self.part.replace(self.place)
            self.version.unlink(missing_ok=True)
            return
        size = self._have()
        self._forget()
        self.wrong.append(found)
        if len(self.wrong) < _WRONG_TWICE:
            raise _Failed(f"what came ({size} bytes) has the SHA-256 {found}, not the pinned one")
        raise ArtifactError(
            f"{self.url} is not the file that was pinned: its SHA-256 is {found!r}, not {self.sha256!r}",
            details=f"{size} bytes, fetched {len(self.wrong)} times",
            hint="if its publisher replaced it, review what it is now and pin that; nothing of it was kept",
        )

    def _get(self, session: requests.Session) -> None:
        start = self._have()
        headers = {"Accept-Encoding": "identity"}  # the digest is of the file, not of what it unpacks to
        if start:
            headers["Range"] = f"bytes={start}-"
            if self.version.exists() and (version := self.version.read_text()):
                headers["If-Range"] = version
        with session.get(
            self.url, headers=headers, stream=True, timeout=(self.patience.connect, self.patience.read)
        ) as answer:
            self._refuse(answer)
            begins = _begins_at(answer)
            if begins not in (0, start):
                self._forget()
                raise _Failed(f"the server sent the bytes from {begins} on, not from {start} on")
            write_atomically(self.version, _version(answer))
            self._save(answer, begins)

    def _refuse(self, answer: requests.Response) -> None:
        if answer.ok:
            return
        said = f"the server answers {answer.status_code} {answer.reason}"
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            self._forget()
            raise _Failed(said)
        if answer.status_code not in _PASSING:
            raise NetworkError(
                f"{self.url} could not be fetched: {said}", hint="check the URL where it is pinned: is it still there?"
            )
        after = answer.headers.get("Retry-After", "")
        raise _Failed(said, after=float(after) if after.isdecimal() else 0.0)

    def _save(self, answer: requests.Response, begins: int) -> None:
        length = answer.headers.get("Content-Length", "")
        whole = begins + int(length) if length.isdecimal() else 0
        said = -_SAID_EVERY
        with self.part.open("ab" if begins else "wb") as file:
            while block := answer.raw.read(_BLOCK, decode_content=False):
                file.write(block)
                if file.tell() - said >= _SAID_EVERY:
                    said = file.tell()
                    report(f"Fetch {self.name}", said, whole)
                if time.monotonic() > self.deadline:
                    raise DeadlineError(
                        f"{self.url} is not here after {self.patience.whole:g} s",
                        details=f"{file.tell()} of {whole or 'unknown'} bytes",
                        hint="run the same command again; it goes on where it was",
                    )
            if whole and file.tell() != whole:
                raise _Failed(f"the connection ended after {file.tell()} of {whole} bytes")

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self.version.unlink(missing_ok=True)


def _failure(state: tenacity.RetryCallState) -> _Failed:
    """Why the attempt failed."""
    err = state.outcome.exception() if state.outcome else None
    assert isinstance(err, _Failed)
    return err


def _begins_at(answer: requests.Response) -> int:
    """The first byte of an answer: 0 unless it is a part of the file."""
    if answer.status_code != requests.codes.partial_content:
        return 0
    said = answer.headers.get("Content-Range", "")
    first = said.removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else -1


def _version(answer: requests.Response) -> str:
    """What If-Range may name: a strong ETag, else the time of the last change, else nothing."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _plainly(err: Exception) -> str:
    """What happened, without the objects that requests and urllib3 wrap it in."""
    match err:
        case requests.ConnectTimeout():
            return "the server does not accept a connection"
        case requests.ReadTimeout() | urllib3.exceptions.ReadTimeoutError():
            return "the server stopped sending"
        case urllib3.exceptions.ProtocolError():
            return f"the connection was lost: {err.args[-1]}"
        case requests.exceptions.SSLError():
            return f"its certificate is not trusted: {err}"
        case requests.ConnectionError():
            cause = err.args[0] if err.args else err  # urllib3's, and that may have another in it
            if isinstance(cause, urllib3.exceptions.ProtocolError):
                return _plainly(cause)
            return f"no connection: {str(getattr(cause, 'reason', cause)).rsplit(': ', 1)[-1]}"
        case _:
            return f"{type(err).__name__}: {err}"
