"""The reviewed list of files that give rights away, and what is read from what dpkg and stat say."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import tools
from common.errors import CheckFailedError
from lxd.about import About
from lxd.checks import files
from lxd.checks.files import SCAN, TYPES, matches, reviewed, surprises

FOUND = {"/usr/bin/sudo": "- 4755 root:root", "/usr/lib/x86_64-linux-gnu/helper": "- 0755 root:root capabilities=0x1"}


def test_what_was_reviewed_is_no_surprise() -> None:
    wanted = {"/usr/bin/sudo": "- 4755 root:root", "/usr/lib/*/helper": "- 0755 root:root capabilities=0x1"}
    assert list(surprises(FOUND, wanted)) == []


def test_each_surprise_names_the_file() -> None:
    wanted = {"/usr/bin/sudo": "- 4755 root:sudo", "/usr/bin/passwd": "- 4755 root:root"}
    assert list(surprises(FOUND, wanted)) == [
        "/usr/bin/sudo is '- 4755 root:root', not '- 4755 root:sudo'",
        "/usr/lib/x86_64-linux-gnu/helper is '- 0755 root:root capabilities=0x1', which nobody has reviewed",
        "/usr/bin/passwd is not '- 4755 root:root'",
    ]


entries = st.dictionaries(st.from_regex(r"/[a-z]{1,3}(/[a-z]{1,3}){0,2}", fullmatch=True), st.sampled_from(["a", "b"]))


@given(found=entries, wanted=entries)
def test_no_surprise_means_the_same(found: dict[str, str], wanted: dict[str, str]) -> None:
    assert (list(surprises(found, wanted)) == []) == (found == wanted)


def test_a_star_stands_for_one_folder_or_a_part_of_one() -> None:
    assert matches("/usr/lib/aarch64-linux-gnu/x", "/usr/lib/*/x")
    assert not matches("/usr/lib/x", "/usr/lib/*/x")
    assert not matches("/usr/lib/a/b/x", "/usr/lib/*/x")
    assert not matches("/usr/bin/x2", "/usr/bin/x")


@pytest.mark.parametrize("release", ["bullseye", "bookworm", "trixie"])
def test_each_release_and_type_has_been_reviewed(release: str) -> None:
    known = [reviewed(About(release=release, type=kind)) for kind in TYPES]
    assert "/usr/bin/sudo" in known[0]
    assert set(known[0]) <= set(known[1]) <= set(known[2])


def test_a_release_that_nobody_has_looked_at_is_refused() -> None:
    with pytest.raises(CheckFailedError, match="knows no release 'sid'"):
        reviewed(About(release="sid"))


def test_the_scan_sees_rights_but_not_links(tmp_path: Path) -> None:
    """On this machine, as the container does it: what we add to a temporary folder is not looked at, so use a copy."""
    place = tmp_path / "top"
    place.mkdir()
    (place / "open").touch()
    (place / "open").chmod(0o666)
    (place / "closed").touch()
    (place / "closed").chmod(0o644)
    (place / "link").symlink_to("open")
    (place / "suid").touch()
    (place / "suid").chmod(0o4755)
    script = SCAN.read_text().replace('files("/")', f"files({str(place)!r})")
    found = json.loads(tools.capture([sys.executable, "-c", script]))
    assert {Path(path).name: what.split()[1] for path, what in found.items()} == {"open": "0666", "suid": "4755"}


def test_what_dpkg_verify_says() -> None:
    assert files._verified("??5?????? c /etc/sommelierrc") == "/etc/sommelierrc has another content than its package"
    assert files._verified("??5??????   /usr/bin/x y") == "/usr/bin/x y has another content than its package"
    assert files._verified("missing     /usr/share/a") == "/usr/share/a is missing"


def test_modes_and_owners_are_compared() -> None:
    listed = "\n".join(
        [
            "regular file|440|root:root|/etc/sudoers.d/10-cros-nopasswd",
            "regular file|755|root:root|/usr/bin/garcon-url-handler",
            "regular empty file|644|root:root|/usr/share/a|b",
            "directory|700|polkitd:root|/usr/share/polkit-1/rules.d",
            "regular file|600|root:root|/etc/sommelierrc",
            "regular file|644|daemon:root|/usr/share/c",
        ]
    )
    assert list(files._wrong_modes(listed)) == [
        "/etc/sommelierrc has the mode 600, not 644",
        "/usr/share/c belongs to daemon:root, not root:root",
    ]
