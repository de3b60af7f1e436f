"""Root file systems: what mmdebstrap is asked for, and when the cache has it already."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.errors import CommandError, DeadlineError, DiskFullError, NetworkError
from common.files import sha256_of
from common.mirror import Mirror
from common.rootfs import Recipe, cached_tar, make_tar

RECIPE = Recipe(release="bookworm", arch="amd64", variant="apt", include=("dbus", "curl"), source_date_epoch=1700000000)
NOWHERE = Mirror("http://127.0.0.1:9/debian", "http://127.0.0.1:9/debian-security")
# Writes its arguments into the tar file it is asked for, as mmdebstrap writes a root: the argument after the release.
FAKE = """#!/bin/sh
for word; do
    [ "${before:-}" = bookworm ] && out=$word
    before=$word
done
echo "epoch $SOURCE_DATE_EPOCH" >"$out"
printf '%s\\n' "$@" >>"$out"
echo x >>"$0.calls"
"""


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "bin"
    place.mkdir()
    program = place / "mmdebstrap"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    return program


def _calls(program: Path) -> int:
    calls = Path(f"{program}.calls")
    return len(calls.read_text().splitlines()) if calls.exists() else 0


def test_what_mmdebstrap_is_asked_for(mmdebstrap: Path, tmp_path: Path) -> None:
    make_tar(RECIPE, tmp_path / "root.tar", mirror=NOWHERE, sources=["deb x"], options=["--aptopt=y"])
    lines = (tmp_path / "root.tar").read_text().splitlines()
    assert lines[0] == "epoch 1700000000"
    assert {"--architectures=amd64", "--variant=apt", "--include=dbus,curl", "--format=tar", "--aptopt=y"} <= set(lines)
    assert lines[lines.index("bookworm") + 2 :] == [*NOWHERE.sources("bookworm"), "deb x"]


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ('echo "No space left on device" >&2; exit 1', DiskFullError),
        ('echo "Temporary failure resolving" >&2; exit 1', NetworkError),
        ("exit 25", CommandError),
        ("sleep 60", DeadlineError),
    ],
)
def test_a_failure_keeps_the_old_file_and_leaves_no_other(
    mmdebstrap: Path, tmp_path: Path, ending: str, kind: type[Exception]
) -> None:
    mmdebstrap.write_text(f"{FAKE}{ending}\n")
    out = tmp_path / "out" / "root.tar"
    out.parent.mkdir()
    out.write_text("old")
    with pytest.raises(kind):
        make_tar(RECIPE, out, mirror=NOWHERE, timeout=1)
    assert out.read_text() == "old"
    assert list(out.parent.iterdir()) == [out]


@dataclass
class FakeMirror:
    """A mirror that has nothing but its InRelease files."""

    mirror: Mirror
    content: bytes = b"one state"


@pytest.fixture
def fake_mirror() -> Iterator[FakeMirror]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path.endswith("/InRelease") else 404)
            self.send_header("Content-Length", str(len(fake.content)))
            self.end_headers()
            self.wfile.write(fake.content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        fake = FakeMirror(Mirror(f"{url}/debian", f"{url}/debian-security"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


def test_the_cache_makes_a_root_once_for_each_state(mmdebstrap: Path, fake_mirror: FakeMirror, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = cached_tar(RECIPE, cache, mirror=fake_mirror.mirror)
    assert cached_tar(RECIPE, cache, mirror=fake_mirror.mirror) == first
    assert _calls(mmdebstrap) == 1
    for other in (
        replace(RECIPE, arch="arm64"),
        replace(RECIPE, variant="minbase"),
        replace(RECIPE, include=("dbus",)),
        replace(RECIPE, source_date_epoch=1),
    ):
        assert cached_tar(other, cache, mirror=fake_mirror.mirror) != first
    assert _calls(mmdebstrap) == 5
    fake_mirror.content = b"another state"
    assert cached_tar(RECIPE, cache, mirror=fake_mirror.mirror) != first
    assert first.exists()


def test_what_no_run_uses_any_more_is_forgotten(mmdebstrap: Path, fake_mirror: FakeMirror, tmp_path: Path) -> None:
    first = cached_tar(RECIPE, tmp_path, mirror=fake_mirror.mirror)
    second = cached_tar(replace(RECIPE, arch="arm64"), tmp_path, mirror=fake_mirror.mirror)
    os.utime(first, (0, 0))
    cached_tar(replace(RECIPE, arch="i386"), tmp_path, mirror=fake_mirror.mirror)
    assert not first.exists()
    assert second.exists()


def test_a_failed_root_is_not_cached(mmdebstrap: Path, fake_mirror: FakeMirror, tmp_path: Path) -> None:
    mmdebstrap.write_text(f"{FAKE}exit 1\n")
    with pytest.raises(CommandError):
        cached_tar(RECIPE, tmp_path / "cache", mirror=fake_mirror.mirror)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_mirror_that_does_not_answer_is_named(mmdebstrap: Path, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="the Debian mirror does not answer"):
        cached_tar(RECIPE, tmp_path / "cache", mirror=NOWHERE)
    assert _calls(mmdebstrap) == 0


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(900)
def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    recipe = replace(RECIPE, include=())
    mirror = Mirror.of_this_machine()
    for name in ("a.tar", "b.tar"):
        make_tar(recipe, tmp_path / name, mirror=mirror, timeout=280)
    assert sha256_of(tmp_path / "a.tar") == sha256_of(tmp_path / "b.tar")
