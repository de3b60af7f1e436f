import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.aptprogress import AptProgress, parse_size
from common.progress import FILE_VARIABLE

SAID = """\
Get:1 http://mirror/debian bookworm InRelease [151 kB]
Get:2 http://mirror/debian bookworm/main amd64 Packages [8790 kB]
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Need to get 2.8 MB of archives.
Get:1 http://mirror/debian bookworm/main amd64 gcc-12-base amd64 12.2.0-14+deb12u1 [37.6 kB]
Get:2 http://mirror/debian bookworm/main amd64 libc6 amd64 2.36-9+deb12u14 [2759 kB]
Unpacking libc6:amd64 (2.36-9+deb12u14) ...
Setting up gcc-12-base:amd64 (12.2.0-14+deb12u1) ...
"""


def test_bytes_then_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "progress.json"
    monkeypatch.setenv(FILE_VARIABLE, str(target))
    progress = AptProgress("Make a root")
    seen = []
    for line in SAID.splitlines(keepends=True):
        progress(line)
        if target.exists():
            said = json.loads(target.read_text())
            seen.append((said["step"], said["done"], said["total"], said["unit"]))
    assert list(dict.fromkeys(seen)) == [
        ("Make a root: fetch", 37600, 2800000, "bytes"),
        ("Make a root: fetch", 2796600, 2800000, "bytes"),
        ("Make a root: set up", 1, 2, "packages"),
    ]


@given(st.text())
def test_any_line_is_taken(line: str) -> None:
    AptProgress("x")(line)


@given(st.integers(0, 999), st.sampled_from(["", "k", "M", "G"]))
def test_sizes(number: int, unit: str) -> None:
    assert parse_size(str(number), unit) == number * {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3}[unit]
