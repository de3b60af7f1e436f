"""What containers are served: the repository as it was signed, or with one byte changed, and nothing beside it."""

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from lxd.repository import WELCOME, Kind, altered, serving

FILES = {
    "dists/bookworm/InRelease": b"Origin: Google\nComponents: main\nSHA256:\n",
    "dists/bookworm/main/binary-amd64/Packages.gz": b"a list",
    "pool/main/c/cros-tast-tests/cros-tast-tests_72 1_all.deb": b"a package",
}
CHANGED = {
    Kind.SIGNED: None,
    Kind.OTHER_RELEASE: "dists/bookworm/InRelease",
    Kind.OTHER_INDEX: "dists/bookworm/main/binary-amd64/Packages.gz",
    Kind.OTHER_PACKAGE: "pool/main/c/cros-tast-tests/cros-tast-tests_72 1_all.deb",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("repository") / "apt_signed"
    for name, content in FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    (place.parent / "secret").write_text("secret")
    (place / "link").symlink_to("../secret")
    return place


@pytest.fixture(scope="module")
def url(repository: Path) -> Iterator[str]:
    with serving(socket.create_server(("127.0.0.1", 0)), repository) as url:
        yield url


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_has_one_byte_changed_in_one_sort_of_file(url: str, kind: Kind) -> None:
    for name, content in FILES.items():
        got = requests.get(f"{url}/{kind}/{name}", timeout=10).content
        differing = sum(one != other for one, other in zip(got, content, strict=True))
        assert differing == (1 if CHANGED[kind] == name else 0), name


@given(content=st.binary(min_size=1), kind=st.sampled_from(Kind), name=st.sampled_from([*FILES, "dists/x/by-hash/abc"]))
def test_a_changed_file_is_as_long_as_the_signed_one(content: bytes, kind: Kind, name: str) -> None:
    got = altered(kind, Path(name), content)
    assert len(got) == len(content)
    if kind is Kind.SIGNED:
        assert hashlib.sha256(got).digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize(
    "path", ["signed/../secret", "signed/%2e%2e/secret", "signed/link", "signed/dists", "nosuch/x"]
)
def test_nothing_else_is_served(url: str, path: str) -> None:
    connection = requests.Session()
    request = requests.Request("GET", url).prepare()
    request.url = f"{url}/{path}"  # as it is: not made canonical
    assert connection.send(request, timeout=10).status_code == 404


def test_without_a_repository_the_host_still_answers() -> None:
    with serving(socket.create_server(("127.0.0.1", 0)), None) as url:
        assert requests.get(url, timeout=10).text == f"{WELCOME}\n"
        assert requests.get(f"{url}/signed/dists", timeout=10).status_code == 404
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=10)
