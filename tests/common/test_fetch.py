"""Downloads against a real server that breaks off, ignores what it is asked, is busy, or lies."""

import hashlib
import http.server
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import ArtifactError, DeadlineError, DiskFullError, NetworkError
from common.fetch import Patience, fetch

CONTENT = bytes(range(256)) * 2048  # half a megabyte
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=4, first=0.01, longest=0.05, connect=5, read=5, whole=60)


@dataclass
class Request:
    """What a client asked."""

    first: int
    if_range: str


@dataclass
class Server:
    """A server of one file; `faults` are used up one a request, then it is well-behaved."""

    url: str = ""
    content: bytes = field(default=CONTENT, repr=False)
    etag: str = '"one"'
    faults: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    open_gate: threading.Event = field(default_factory=threading.Event)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the Server beside it says."""

    protocol_version = "HTTP/1.1"
    state: Server

    def do_GET(self) -> None:
        server = self.state
        wanted = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
        request = Request(int(wanted), self.headers.get("If-Range", ""))
        server.requests.append(request)
        fault, _, value = (server.faults.pop(0) if server.faults else "").partition(" ")
        if fault == "status":
            self.send_response(int(value))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        begins = request.first if fault != "ignore-range" and request.if_range in ("", server.etag) else 0
        body = server.content[begins:]
        if begins >= len(server.content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if begins else 200)
        if begins:
            start = begins + 1 if fault == "wrong-range" else begins
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if fault == "break":
            body = body[: int(value)]
            self.close_connection = True
        if fault == "stall":
            self.wfile.write(body[:10])
            server.open_gate.wait(30)
            self.close_connection = True
            return
        self.wfile.write(b"x" * len(body) if fault == "lie" else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Listening(http.server.ThreadingHTTPServer):
    """A server that takes it calmly when a client hangs up."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    server = Server()
    handler = type("Handler", (Handler,), {"state": server})
    with Listening(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        server.url = f"http://127.0.0.1:{listening.server_address[1]}/a/file.tar.gz"
        yield server
        listening.shutdown()
        thread.join()


@pytest.fixture
def server(one_server: Server) -> Server:
    one_server.content, one_server.etag, one_server.faults = CONTENT, '"one"', []
    one_server.requests.clear()
    one_server.open_gate.clear()
    return one_server


def get(server: Server, cache: Path, patience: Patience = QUICK) -> bytes:
    return fetch(server.url, sha256=SHA256, cache=cache, patience=patience).read_bytes()


def left(cache: Path) -> set[str]:
    return {path.name for path in cache.iterdir() if not path.name.endswith(".lock")}


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    assert get(server, tmp_path) == get(server, tmp_path) == CONTENT
    assert len(server.requests) == 1
    assert left(tmp_path) == {SHA256}


def test_a_connection_that_breaks_off_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.faults = ["break 200000", "break 100000"]
    assert get(server, tmp_path) == CONTENT
    first, second, third = server.requests
    assert (first.first, first.if_range) == (0, "")
    assert 0 < second.first < third.first < len(CONTENT)
    assert second.if_range == third.if_range == '"one"'


def test_what_a_killed_download_got_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    (tmp_path / f".{SHA256}.part").write_bytes(CONTENT[:1000])
    assert get(server, tmp_path) == CONTENT
    assert server.requests == [Request(1000, "")]


def test_a_server_that_ignores_the_range_is_heard_from_the_start(server: Server, tmp_path: Path) -> None:
    server.faults = ["break 200000", "ignore-range"]
    assert get(server, tmp_path) == CONTENT
    assert len(server.requests) == 2


def test_another_version_is_not_glued_to_the_first(server: Server, tmp_path: Path) -> None:
    (tmp_path / f".{SHA256}.part").write_bytes(b"older content")
    (tmp_path / f".{SHA256}.version").write_text('"older"')
    assert get(server, tmp_path) == CONTENT
    assert server.requests == [Request(13, '"older"')]


def test_glued_content_that_nobody_noticed_is_fetched_afresh(server: Server, tmp_path: Path) -> None:
    (tmp_path / f".{SHA256}.part").write_bytes(b"not the beginning")
    assert get(server, tmp_path) == CONTENT
    assert [request.first for request in server.requests] == [17, 0]


@pytest.mark.parametrize("faults", [["break 5000", "wrong-range"], ["break 5000", "status 416"]])
def test_a_part_that_does_not_fit_begins_again(server: Server, tmp_path: Path, faults: list[str]) -> None:
    server.faults = faults
    assert get(server, tmp_path) == CONTENT
    assert server.requests[-1].first == 0


def test_a_part_that_is_longer_than_the_file_begins_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / f".{SHA256}.part").write_bytes(CONTENT + b"more")
    assert get(server, tmp_path) == CONTENT


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.faults = ["status 503", "status 503"]
    assert get(server, tmp_path) == CONTENT
    assert len(server.requests) == 3


def test_a_server_that_stays_busy_is_named_with_what_it_said(server: Server, tmp_path: Path) -> None:
    server.faults = ["status 503"] * 9
    with pytest.raises(NetworkError, match=r"/a/file\.tar\.gz could not be fetched: .* 503 Service Unavail") as failed:
        get(server, tmp_path)
    assert len(server.requests) == QUICK.attempts
    assert "attempt 1: the server answers 503" in failed.value.details


def test_a_file_that_is_gone_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.faults = ["status 404"]
    with pytest.raises(NetworkError, match="the server answers 404 Not Found"):
        get(server, tmp_path)
    assert len(server.requests) == 1


def test_nobody_listening_is_a_network_error(tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"http://127\.0\.0\.1:1/x could not be fetched: .*Connection refused"):
        fetch("http://127.0.0.1:1/x", sha256=SHA256, cache=tmp_path, patience=QUICK)


def test_a_server_without_an_address_is_said_in_one_sentence(tmp_path: Path) -> None:
    said = r"could not be fetched: no connection: Failed to resolve 'nowhere\.invalid' \(\[Errno -\d+\] [^()]+\)$"
    with pytest.raises(NetworkError) as caught:
        fetch("http://nowhere.invalid/x", sha256=SHA256, cache=tmp_path, patience=QUICK)
    assert re.search(said, caught.value.what)


def test_a_wrong_file_once_is_fetched_again(server: Server, tmp_path: Path) -> None:
    server.faults = ["lie"]
    assert get(server, tmp_path) == CONTENT


def test_a_wrong_file_always_is_refused_and_does_not_stay(server: Server, tmp_path: Path) -> None:
    server.faults = ["lie"] * 9
    wrong = hashlib.sha256(b"x" * len(CONTENT)).hexdigest()
    with pytest.raises(ArtifactError, match=f"its SHA-256 is '{wrong}', not '{SHA256}'"):
        get(server, tmp_path)
    assert len(server.requests) == 2
    assert left(tmp_path) == set()


def test_a_file_that_went_bad_in_the_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / SHA256).write_bytes(b"rotten")
    assert get(server, tmp_path) == CONTENT


def test_a_server_that_stalls_is_given_up(server: Server, tmp_path: Path) -> None:
    server.faults = ["stall"] * 9
    patience = Patience(attempts=2, first=0.01, longest=0.02, connect=5, read=0.2, whole=60)
    try:
        with pytest.raises(NetworkError, match="the server stopped sending"):
            get(server, tmp_path, patience)
    finally:
        server.open_gate.set()


def test_a_download_that_takes_too_long_ends(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DeadlineError, match=r"file\.tar\.gz is not here after 0 s"):
        get(server, tmp_path, Patience(whole=0))


def test_many_at_once_download_it_once(server: Server, tmp_path: Path) -> None:
    server.faults = ["break 100000"]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: get(server, tmp_path), range(8))) == {CONTENT}
    assert len(server.requests) == 2


def test_a_full_disk_is_named(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f".{SHA256}.part").symlink_to("/dev/full")
    with pytest.raises(DiskFullError, match="no space left"):
        get(server, tmp_path)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["break 0", "break 70000", "break 400000", "ignore-range", "lie", "status 500"])))
def test_whatever_happens_it_is_the_right_file_or_none(
    server: Server, tmp_path_factory: pytest.TempPathFactory, faults: list[str]
) -> None:
    server.faults = list(faults)
    cache = tmp_path_factory.mktemp("cache")
    try:
        assert get(server, cache, Patience(attempts=3, first=0, longest=0, whole=60)) == CONTENT
    except (ArtifactError, NetworkError):
        assert not (cache / SHA256).exists()
