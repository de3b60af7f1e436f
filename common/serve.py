"""The buckets of out/gs over HTTP and HTTPS on loopback, for real apt and LXD clients of this machine."""

import contextlib
import errno
import functools
import http.server
import io
import logging
import shlex
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from common.errors import BusyError, UsageError
from common.localca import certificates
from common.milestones import FIRST, FIRST_WITH_FOLDER, folder_of, url_of

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
KEYRING = "cros-archive-keyring.asc"
INSTALLED_KEYRING = f"/etc/apt/keyrings/{KEYRING}"


@dataclass(frozen=True)
class Served:
    """What is served: the two URLs, without a final slash, and the certificate clients have to trust."""

    http: str
    https: str
    ca: Path


@contextlib.contextmanager
def serving(directory: Path, *, state: Path, http_port: int = 0, https_port: int = 0) -> Iterator[Served]:
    """Serve `directory` for as long as the `with` lasts.

    Files only, and nothing a link leads to outside of `directory`; no lists of directories; TLS 1.3.

    Args:
        directory: what is served.
        state: where the certificates are kept; must not be served itself.
        http_port, https_port: 0 takes a free one.

    Raises:
        BusyError: a port is taken.
        UsageError: a port is no port, or `state` lies inside `directory`.
    """
    top = directory.resolve()
    if state.resolve().is_relative_to(top):
        raise UsageError(f"{str(state)!r} would be served with its private keys", hint=f"keep it outside of {top}")
    files = certificates(state)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.server)
    with _running(top, http_port, None) as plain, _running(top, https_port, context) as secure:
        yield Served(f"http://localhost:{plain}", f"https://localhost:{secure}", files.ca)


def serve_forever(directory: Path, *, state: Path, http_port: int = 0, https_port: int = 0) -> None:
    """Serve until interrupted, after printing what a client needs. Errors: see `serving`."""
    with serving(directory, state=state, http_port=http_port, https_port=https_port) as served:
        print(client_lines(served, directory), flush=True)
        print(f"serving {directory} at {served.http} and {served.https}; Ctrl-C ends it", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


def client_lines(served: Served, bucket_root: Path) -> str:
    """What a client on this machine runs and writes, for each bucket and milestone found on disk."""
    blocks = [
        block
        for bucket in sorted(path for path in bucket_root.iterdir() if path.is_dir())
        for milestone in _milestones(bucket)
        for block in (_apt_lines(served, bucket, milestone), _lxd_lines(served, bucket, milestone))
        if block
    ]
    return "\n\n".join(blocks) if blocks else "nothing is published yet: ./run invoke continuous --branch BRANCH"


def _milestones(bucket: Path) -> list[int]:
    """Those that may be in a bucket, the one that is at its top among them."""
    folders = (int(path.name) for path in bucket.iterdir() if path.name.isdecimal())
    return sorted({FIRST, *(number for number in folders if number >= FIRST_WITH_FOLDER)})


def _apt_lines(served: Served, bucket: Path, milestone: int) -> str:
    """The key and the deb822 source of a repository. Its signature is what is trusted, so HTTP will do."""
    place = bucket / folder_of(milestone)
    suites = sorted(path.parent.name for path in place.glob("dists/*/InRelease"))
    if not suites:
        return ""
    key = shlex.quote(str((place / KEYRING).resolve()))
    return "\n".join(
        [
            f"# {bucket.name}, milestone {milestone}: packages",
            f"install -D -m 644 {key} {INSTALLED_KEYRING}",
            f"cat >/etc/apt/sources.list.d/{bucket.name}.sources <<END",
            "Types: deb",
            f"URIs: {url_of(f'{served.http}/{bucket.name}', milestone)}",
            f"Suites: {suites[0]}" if len(suites) == 1 else f"# one of: {' '.join(suites)}\nSuites: {suites[-1]}",
            "Components: main",
            f"Signed-By: {INSTALLED_KEYRING}",
            "END",
        ]
    )


def _lxd_lines(served: Served, bucket: Path, milestone: int) -> str:
    """The remote of a simplestreams server. LXD reads the system's authorities once, when it starts."""
    if not (bucket / folder_of(milestone) / "streams" / "v1" / "index.json").exists():
        return ""
    ca = shlex.quote(str(served.ca.resolve()))
    url = url_of(f"{served.https}/{bucket.name}", milestone)
    return "\n".join(
        [
            f"# {bucket.name}, milestone {milestone}: images",
            f"install -m 644 {ca} /usr/local/share/ca-certificates/cros-local-buckets.crt && update-ca-certificates",
            "# then restart LXD, so that it reads the new certificate",
            f"lxc remote add {bucket.name}-{milestone} {url} --protocol=simplestreams",
        ]
    )


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files below one directory."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds an idle connection keeps its thread
    disable_nagle_algorithm = True  # header and body are two writes: without it each answer waits for an ACK

    def list_directory(self, path: object) -> None:  # noqa: ARG002, overrides
        """Show nobody what is there: buckets do not list either."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Answer 404 for a link that leads outside."""
        if not Path(self.translate_path(self.path)).resolve().is_relative_to(self.directory):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        """Requests are for the debug log."""
        log.debug("%s %s", self.address_string(), format % args)


class _Server(http.server.ThreadingHTTPServer):
    """A thread a connection; the TLS handshake happens there, where a client that stalls holds nobody up."""

    daemon_threads = True

    def __init__(self, port: int, handler: object, context: ssl.SSLContext | None) -> None:
        self._open: set[socket.socket] = set()
        super().__init__((LOOPBACK, port), handler)  # type: ignore[arg-type]
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Remember the connection."""
        assert isinstance(request, socket.socket)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Forget the connection."""
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Stop listening, and end the connections that clients keep open: nothing is served from here on."""
        super().server_close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002, overrides
        """A client that hangs up, or offers an old TLS, is its own problem."""
        log.debug("connection of %s failed: %s", client_address, sys.exc_info()[1])


@contextlib.contextmanager
def _running(top: Path, port: int, context: ssl.SSLContext | None) -> Iterator[int]:
    """One server in a thread of its own; yields its port."""
    handler = functools.partial(_Handler, directory=str(top))
    try:
        server = _Server(port, handler, context)
    except OverflowError as err:
        raise UsageError(f"{port} is not a port", hint="use 0 (any free one) to 65535") from err
    except OSError as err:
        if err.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise BusyError(f"port {port} cannot be used: {err.strerror}", hint="name another one, or 0 for any") from err
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
