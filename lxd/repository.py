"""Serves the containers of a run: a word of welcome, and the apt repository as it is and as nobody may take it."""

import contextlib
import http.server
import logging
import socket
import threading
from collections.abc import Iterator
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

log = logging.getLogger(__name__)

WELCOME = "the host answers"


class Kind(StrEnum):
    """How the repository is served, the first part of a path: as it was signed, or with one byte changed."""

    SIGNED = "signed"
    OTHER_RELEASE = "other-release"
    OTHER_INDEX = "other-index"
    OTHER_PACKAGE = "other-package"


def altered(kind: Kind, path: Path, content: bytes) -> bytes:
    """A file of the repository as this kind has it.

    Args:
        path: relative to the repository.
    """
    release = path.name in ("InRelease", "Release")
    if kind is Kind.OTHER_RELEASE and release:
        return content.replace(b"\nComponents: main", b"\nComponents: m4in", 1)
    if (kind is Kind.OTHER_INDEX and path.parts[0] == "dists" and not release and path.suffix != ".gpg") or (
        kind is Kind.OTHER_PACKAGE and path.suffix == ".deb"
    ):
        return content[:-1] + bytes([content[-1] ^ 1])
    return content


class _Handler(http.server.BaseHTTPRequestHandler):
    """GET /, and GET /<kind>/<path in the repository>."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds an idle connection keeps its thread
    disable_nagle_algorithm = True
    repository: Path | None = None

    def do_GET(self) -> None:
        """Answer with a file, or with 404."""
        content = self._content()
        self.send_response(HTTPStatus.NOT_FOUND if content is None else HTTPStatus.OK)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def _content(self) -> bytes | None:
        kind, _, name = unquote(self.path.split("?")[0]).strip("/").partition("/")
        if not kind:
            return f"{WELCOME}\n".encode()
        if self.repository is None or kind not in list(Kind):
            return None
        path = (self.repository / name).resolve()
        if not path.is_relative_to(self.repository) or not path.is_file():
            return None
        return altered(Kind(kind), path.relative_to(self.repository), path.read_bytes())

    def log_message(self, format: str, *args: object) -> None:
        """Requests are for the debug log."""
        log.debug("%s %s", self.address_string(), format % args)


class _Server(http.server.ThreadingHTTPServer):
    """A thread a connection."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A container that hangs up, as one that is switched off does, is no problem."""
        log.debug("connection of %s ended early: %s", client_address, request)


@contextlib.contextmanager
def serving(listening: socket.socket, repository: Path | None, *, address: str | None = None) -> Iterator[str]:
    """Serve for as long as the `with` lasts; gives the URL, without a final slash.

    Args:
        listening: a socket that the containers reach; it is closed at the end.
        address: where they reach it, on its own port; its own address when None.
        repository: a directory with `dists` and `pool`.
    """
    top = repository.resolve() if repository else None
    handler = type("Handler", (_Handler,), {"repository": top})
    here, port = listening.getsockname()[:2]
    server = _Server((here, port), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://{address or here}:{port}"
        finally:
            server.shutdown()
            thread.join()
