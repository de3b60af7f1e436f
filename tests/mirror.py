"""A mirror in front of this machine's that can be told to fail: to stall, to lack a file, to send another one."""

import contextlib
import fnmatch
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath

import requests

from common.mirror import Mirror

ALWAYS = 1 << 30
_BLOCK = 1 << 16
_STALL = 60.0  # seconds
# What apt asks with, and what it wants to know.
_ASKED = ("Accept-Encoding", "If-Modified-Since", "If-Range", "Range")
_ANSWERED = ("Content-Length", "Content-Range", "Content-Type", "Last-Modified")


class Fault(StrEnum):
    """What is wrong with the answer for a file."""

    STALLS = "stalls"
    MISSING = "missing"
    OTHER = "other content"


@dataclass
class FaultyMirror:
    """A mirror and what is wrong with it.

    Attributes:
        mirror: how to reach it.
        upstream: the archive behind it.
        faults: what is still to go wrong, by the pattern of file names: the fault, and how many times.
        asked: the names of the files that went wrong, in this order.
        closing: set when it is over.
    """

    mirror: Mirror
    upstream: Mirror
    faults: dict[str, tuple[Fault, int]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fault(self, name: str) -> Fault | None:
        """What goes wrong with a file now."""
        with self.lock:
            for pattern, (fault, times) in self.faults.items():
                if times and fnmatch.fnmatch(name, pattern):
                    self.faults[pattern] = fault, times - 1
                    self.asked.append(name)
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    """/debian and /debian-security, as they are upstream but for the faults."""

    protocol_version = "HTTP/1.1"
    faulty: FaultyMirror

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        fault = self.faulty.fault(PurePosixPath(self.path).name)
        if fault is Fault.STALLS:
            self.faulty.closing.wait(_STALL)
            self.close_connection = True
            return
        if fault is Fault.MISSING:
            self.send_response(HTTPStatus.NOT_FOUND)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, _, rest = self.path.lstrip("/").partition("/")
        top = self.faulty.upstream.security if first == "debian-security" else self.faulty.upstream.archive
        headers = {"Accept-Encoding": "identity"} | {name: self.headers[name] for name in _ASKED if self.headers[name]}
        with requests.request(method, f"{top}/{rest}", headers=headers, stream=True, timeout=60) as answer:
            self.send_response(answer.status_code)
            for name in _ANSWERED:
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", "0")
            self.end_headers()
            for block in answer.raw.stream(_BLOCK, decode_content=False):
                changed = bytes([block[0] ^ 1]) + block[1:] if fault is Fault.OTHER else block
                self.wfile.write(changed)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def faulty_mirror() -> Iterator[FaultyMirror]:
    """Serve for as long as the `with` lasts."""

    class Handler(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        url = f"http://127.0.0.1:{server.server_address[1]}"
        faulty = FaultyMirror(Mirror(f"{url}/debian", f"{url}/debian-security"), Mirror.of_this_machine())
        Handler.faulty = faulty
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield faulty
        finally:
            faulty.closing.set()
            server.shutdown()
            thread.join()
