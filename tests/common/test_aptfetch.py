"""What apt says it could not fetch, and how often it is asked again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.aptfetch import TRIES, Fetching, Missed, with_retries
from common.errors import CommandError, NetworkError

DEB = "http://mirror.example/debian/pool/main/f/fio/fio_3.33-3_amd64.deb"
SAID = f"""\
Get:1 http://mirror.example/debian bookworm InRelease [151 kB]
Err:7 http://mirror.example/debian bookworm/main amd64 fio amd64 3.33-3
  404  Not Found [IP: 192.0.2.1 80]
E: Failed to fetch {DEB}  404  Not Found [IP: 192.0.2.1 80]
E: Failed to fetch {DEB}  404  Not Found [IP: 192.0.2.1 80]
E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?
"""


def test_each_file_is_named_once() -> None:
    fetching = Fetching("Make a root")
    for line in SAID.splitlines(keepends=True):
        fetching(line)
    assert fetching.missed == [Missed(DEB, "404  Not Found")]
    assert str(fetching.missed[0]) == "package 'fio' (debian/pool/main/f/fio/fio_3.33-3_amd64.deb): 404  Not Found"


def test_an_index_is_no_package() -> None:
    missed = Missed("http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz", "Hash Sum mismatch")
    assert missed.package == ""
    assert str(missed) == "'debian/dists/bookworm/main/binary-amd64/Packages.xz': Hash Sum mismatch"


@given(st.text())
def test_any_line_is_read(line: str) -> None:
    fetching = Fetching("Make a root")
    fetching(line)
    assert all(missed.uri in line for missed in fetching.missed)


@given(
    package=st.from_regex(r"[a-z0-9][a-z0-9+.-]+", fullmatch=True),
    version=st.from_regex(r"[0-9][A-Za-z0-9.+~-]*", fullmatch=True),
)
def test_a_package_is_named_by_its_file(package: str, version: str) -> None:
    fetching = Fetching("Make a root")
    fetching(f"E: Failed to fetch http://m/pool/{package}_1%3a{version}_amd64.deb  Hash Sum mismatch\n")
    assert [missed.package for missed in fetching.missed] == [package]


def _failing(times: int, line: str, tries: list[Fetching]) -> str:
    def work(fetching: Fetching) -> str:
        tries.append(fetching)
        if len(tries) <= times:
            fetching(line)
            raise CommandError("mmdebstrap exited with 25")
        return "done"

    return with_retries(work, "Make a root")


def test_what_goes_wrong_once_is_done_again() -> None:
    tries: list[Fetching] = []
    assert _failing(1, f"E: Failed to fetch {DEB}  404  Not Found", tries) == "done"
    assert len(tries) == 2


def test_what_always_goes_wrong_is_named() -> None:
    tries: list[Fetching] = []
    with pytest.raises(NetworkError, match=r"package 'fio' \(debian/pool/main/f/fio/fio_3.33-3_amd64.deb\): Hash Sum"):
        _failing(99, f"E: Failed to fetch {DEB}  Hash Sum mismatch", tries)
    assert len(tries) == TRIES


def test_another_failure_is_not_tried_again() -> None:
    tries: list[Fetching] = []
    with pytest.raises(CommandError, match="mmdebstrap exited"):
        _failing(99, "E: Sub-process /usr/bin/dpkg returned an error code (1)", tries)
    assert len(tries) == 1
