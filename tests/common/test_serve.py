"""The loopback server, asked by requests, openssl and raw sockets."""

import os
import re
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509

from common import tools
from common.errors import BusyError, CommandError, UsageError
from common.files import ROOT
from common.localca import certificates
from common.serve import Served, client_lines, serving
from common.waiting import wait_until


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve") / "state"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("gs")
    milestone = root / "cros-packages-staging" / "72"
    (milestone / "dists" / "bookworm").mkdir(parents=True)
    (milestone / "dists" / "bookworm" / "InRelease").write_text("signed\n")
    (milestone / "cros-archive-keyring.asc").write_text("key\n")
    image = root / "cros-containers-staging" / "72" / "images" / "20261124_12:10" / "rootfs.squashfs"
    image.parent.mkdir(parents=True)
    image.write_bytes(os.urandom(300_000))
    return root


@pytest.fixture
def served(bucket: Path, state: Path) -> Iterator[Served]:
    with serving(bucket, state=state) as served:
        yield served


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def test_files_over_http_and_https(served: Served, bucket: Path) -> None:
    path = "cros-containers-staging/72/images/20261124_12:10/rootfs.squashfs"
    wanted = (bucket / path).read_bytes()
    with requests.Session() as session:
        assert session.get(f"{served.http}/{path}", timeout=5).content == wanted
        answer = session.get(f"{served.https}/{path}", timeout=5, verify=str(served.ca))
        assert answer.content == wanted
        assert int(
            session.head(f"{served.https}/{path}", timeout=5, verify=str(served.ca)).headers["Content-Length"]
        ) == len(wanted)
        assert session.get(f"{served.http}/none", timeout=5).status_code == 404


def test_a_stranger_does_not_trust_it(served: Served) -> None:
    with requests.Session() as session, pytest.raises(requests.exceptions.SSLError):
        session.get(f"{served.https}/", timeout=5)


def test_a_directory_is_not_listed(served: Served) -> None:
    answer = requests.get(f"{served.http}/cros-packages-staging/72/", timeout=5)
    assert answer.status_code == 404
    assert "dists" not in answer.text


@pytest.mark.parametrize(
    "path", ["/../secret", "/%2e%2e/secret", "/a/..%2f..%2fsecret", "//secret", "/link", "/linked/secret"]
)
def test_nothing_outside_is_served(tmp_path: Path, state: Path, path: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_text("the secret")
    (inside / "link").symlink_to("../secret")
    (inside / "linked").symlink_to("..")
    (inside / "fine").write_text("fine")
    with serving(inside, state=state) as served:
        assert requests.get(f"{served.http}/fine", timeout=5).text == "fine"
        answer = _raw(_port(served.http), f"GET {path} HTTP/1.0\r\n\r\n")
    assert b" 404 " in answer.splitlines()[0]
    assert b"the secret" not in answer


def _raw(port: int, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_tls_1_2_is_refused_and_1_3_is_not(served: Served) -> None:
    client: list[str | Path] = ["openssl", "s_client", "-connect", f"127.0.0.1:{_port(served.https)}",
              "-verify_return_error", "-verify_hostname", "localhost", "-CAfile", served.ca]  # fmt: skip
    assert "TLSv1.3" in tools.capture([*client, "-tls1_3"], timeout=10, stdin="")
    with pytest.raises(CommandError, match="exited with 1") as caught:
        tools.capture([*client, "-tls1_2"], timeout=10, stdin="")
    assert "alert protocol version" in caught.value.details


def test_only_loopback_listens(served: Served) -> None:
    other = socket.gethostbyname(socket.gethostname())
    if other.startswith("127."):
        other = "127.0.0.2"
    with pytest.raises(OSError, match="refused"), socket.create_connection((other, _port(served.http)), timeout=5):
        pass


def test_many_requests_on_one_connection_are_quick(served: Served) -> None:
    url = f"{served.http}/cros-packages-staging/72/dists/bookworm/InRelease"
    with requests.Session() as session:
        session.get(url, timeout=5)
        start = time.monotonic()
        for _ in range(100):
            assert session.get(url, timeout=5).text == "signed\n"
    # Nagle's algorithm against delayed ACKs would cost 40 ms a request.
    assert time.monotonic() - start < 3.0


def test_a_client_that_never_speaks_tls_holds_nobody_up(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", _port(served.https)), timeout=5), requests.Session() as session:
        answer = session.get(
            f"{served.https}/cros-packages-staging/72/cros-archive-keyring.asc", timeout=5, verify=str(served.ca)
        )
        assert answer.text == "key\n"


def test_nothing_is_served_afterwards(bucket: Path, state: Path) -> None:
    before = threading.active_count()
    with serving(bucket, state=state) as served:
        kept = socket.create_connection(("127.0.0.1", _port(served.http)), timeout=5)
        kept.sendall(b"GET /cros-packages-staging/72/cros-archive-keyring.asc HTTP/1.1\r\n\r\n")
        answer = b""
        while not answer.endswith(b"key\n"):
            answer += kept.recv(65536)
    with kept:
        assert _after(kept) in (b"", None)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", _port(served.http)), timeout=5)
    assert threading.active_count() <= before + 1


def _after(connection: socket.socket) -> bytes | None:
    """What another request on an old connection gets; None when it cannot even be sent."""
    try:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return connection.recv(65536)
    except OSError:
        return None


def test_serve_forever_says_what_a_client_needs_and_ends_on_sigint(bucket: Path, state: Path) -> None:
    code = "import sys; from pathlib import Path as P; from common.serve import serve_forever as serve; "
    code += "serve(P(sys.argv[1]), state=P(sys.argv[2]))"
    with tools.started([sys.executable, "-c", code, bucket, state], cwd=ROOT) as process:
        wait_until(lambda: "Ctrl-C ends it" in process.tail(), "the server", timeout=20)
        assert "Suites: bookworm" in process.tail()
        os.kill(process.pid, signal.SIGINT)
        wait_until(lambda: not process.alive(), "the server to end", timeout=10)
    assert "Traceback" not in process.tail()


def test_a_taken_port_is_named(served: Served, bucket: Path, state: Path) -> None:
    port = _port(served.http)
    with pytest.raises(BusyError, match=f"port {port} cannot be used"), serving(bucket, state=state, https_port=port):
        pass
    with pytest.raises(UsageError, match="70000 is not a port"), serving(bucket, state=state, http_port=70000):
        pass


def test_keys_are_never_served(bucket: Path) -> None:
    with pytest.raises(UsageError, match="would be served"), serving(bucket, state=bucket / "state"):
        pass
    assert not (bucket / "state").exists()


def test_certificates_are_made_once_and_private(tmp_path: Path) -> None:
    first = certificates(tmp_path / "state")
    content = first.ca.read_bytes(), first.server.read_bytes()
    again = certificates(tmp_path / "state")
    assert (again.ca.read_bytes(), again.server.read_bytes()) == content
    for path in (tmp_path / "state").glob("*.pem"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in first.ca.read_bytes()
    certificate = x509.load_pem_x509_certificate(first.server.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


@pytest.mark.parametrize("broken", ["ca-private.pem", "server-private.pem", "ca.crt"])
def test_broken_certificates_are_made_again(tmp_path: Path, bucket: Path, broken: str) -> None:
    state = tmp_path / "state"
    certificates(state)
    (state / broken).write_text("half a certif")
    with serving(bucket, state=state) as served:
        url = f"{served.https}/cros-packages-staging/72/cros-archive-keyring.asc"
        assert requests.get(url, timeout=5, verify=str(served.ca)).ok


def test_the_authority_cannot_vouch_for_other_servers(tmp_path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(certificates(tmp_path).ca.read_bytes())
    limits = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert limits.critical
    assert [str(name.value) for name in limits.value.permitted_subtrees or []] == ["localhost", "127.0.0.1/32"]
    assert ssl.create_default_context(cafile=tmp_path / "ca.crt").get_ca_certs()


def test_client_lines_for_what_is_on_disk(tmp_path: Path) -> None:
    served = Served("http://localhost:80", "https://localhost:443", tmp_path / "ca.crt")
    assert "nothing is published yet" in client_lines(served, tmp_path)
    for suite in ("bookworm", "trixie"):
        (tmp_path / "cros-packages-staging" / "72" / "dists" / suite).mkdir(parents=True)
        (tmp_path / "cros-packages-staging" / "72" / "dists" / suite / "InRelease").touch()
    (tmp_path / "cros-packages-staging" / "73").mkdir()
    (tmp_path / "cros-containers-staging" / "72" / "streams" / "v1").mkdir(parents=True)
    (tmp_path / "cros-containers-staging" / "72" / "streams" / "v1" / "index.json").touch()
    said = client_lines(served, tmp_path)
    assert (
        "lxc remote add cros-containers-staging-72 https://localhost:443/cros-containers-staging/72 "
        "--protocol=simplestreams" in said
    )
    assert re.search(r"^URIs: http://localhost:80/cros-packages-staging/72$", said, re.MULTILINE)
    assert re.search(r"^Suites: trixie$", said, re.MULTILINE)
    assert re.search(r"^Signed-By: /etc/apt/keyrings/cros-archive-keyring.asc$", said, re.MULTILINE)
    assert str(tmp_path / "ca.crt") in said
    assert "/73" not in said


def test_client_lines_for_milestone_69_at_the_top_of_its_buckets(tmp_path: Path) -> None:
    served = Served("http://localhost:80", "https://localhost:443", tmp_path / "ca.crt")
    for path in ("cros-packages/dists/stretch/InRelease", "cros-containers/streams/v1/index.json",
                 "cros-containers/68/streams/v1/index.json"):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    said = client_lines(served, tmp_path)
    assert "lxc remote add cros-containers-69 https://localhost:443/cros-containers --protocol=simplestreams" in said
    assert re.search(r"^URIs: http://localhost:80/cros-packages$", said, re.MULTILINE)
    assert str(tmp_path / "cros-packages" / "cros-archive-keyring.asc") in said
    assert "68" not in said
