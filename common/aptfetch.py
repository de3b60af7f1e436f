"""What apt could not fetch: read from what it prints, tried again, and said in a sentence."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from common.aptprogress import AptProgress
from common.errors import CommandError, NetworkError

log = logging.getLogger(__name__)

T = TypeVar("T")
TRIES = 3
# apt itself tries again what a server says is wrong for a while, and what stalls: seconds, and how many times.
OPTIONS = ('Acquire::http::Timeout "20"', 'Acquire::https::Timeout "20"', 'Acquire::Retries "2"')
# "E: Failed to fetch URI  Reason", where the reason may name the server's address in brackets at its end.
_FAILED = re.compile(r"[EW]: Failed to fetch (?P<uri>\S+)\s+(?P<reason>.*?)\s*(\[IP: .*\])?$")


@dataclass(frozen=True)
class Missed:
    """A file that apt did not get, and why."""

    uri: str
    reason: str

    @property
    def package(self) -> str:
        """The package it would have been; empty where it is no .deb."""
        name = PurePosixPath(urlsplit(self.uri).path).name
        return name.partition("_")[0] if name.endswith(".deb") else ""

    def __str__(self) -> str:
        """`package 'fio' (pool/main/f/fio/fio_3.33-3_amd64.deb): 404  Not Found`."""
        path = unquote(urlsplit(self.uri).path).lstrip("/")
        return (f"package {self.package!r} ({path})" if self.package else repr(path)) + f": {self.reason}"


class Fetching:
    """Give it every line apt prints: it reports progress, and knows what apt could not fetch.

    Args:
        name: of the step, as `common.progress.step` has it.
    """

    def __init__(self, name: str) -> None:
        self._progress = AptProgress(name)
        self.missed: list[Missed] = []

    def __call__(self, line: str) -> None:
        """Take one line."""
        self._progress(line)
        if found := _FAILED.match(line.strip()):
            missed = Missed(found["uri"], found["reason"])
            if missed not in self.missed:
                self.missed.append(missed)


def with_retries(work: Callable[[Fetching], T], name: str) -> T:
    """Do `work`, and again where apt could not fetch something: a mirror has such moments while it is updated.

    Args:
        work: runs apt, and gives its lines to what it is called with; it begins from nothing each time.
        name: of the step.

    Raises:
        NetworkError: that names the package and the file, when it is still so after the third time.
    """
    for left in reversed(range(TRIES)):
        fetching = Fetching(name)
        try:
            return work(fetching)
        except (CommandError, NetworkError) as err:
            if not fetching.missed:
                raise
            what = "; ".join(map(str, fetching.missed[:3]))
            if not left:
                raise NetworkError(
                    f"the mirror does not have what apt asks for, not in {TRIES} tries: {what}",
                    details=err.details,
                    hint="wait until the mirror is whole, or choose another one in this machine's apt sources",
                ) from err
            log.warning("%s: %s; trying again", name, what)
    raise AssertionError("unreachable")
