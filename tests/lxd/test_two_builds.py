"""Two builds of images at once, with one cache: neither notices the other, and both leave the same bytes.

Their root file systems have little in them, as what mmdebstrap would do is done by a script that stops the first build
where the test wants it.
"""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.mirror import Mirror
from common.serve import serving
from common.waiting import wait_until
from lxd.image import build_images
from lxd.image_types import Layer
from lxd.roots import Inputs
from tests.common.aptparts import EPOCH, signed
from tests.conftest import FakeTool

pytestmark = pytest.mark.root
KINDS = ("default", "test")
# Makes a tar of a small root, or adds a file to a root that is there.
MMDEBSTRAP = """#!/bin/sh
set -e
layer=
for word; do
    [ "${before:-}" != bookworm ] || out=$word
    [ "$word" != --format=directory ] || layer=yes
    before=$word
done
if [ "$layer" = "$stop_in_layer" ] && mkdir "$meeting/first" 2>/dev/null; then
    until [ -e "$meeting/go" ]; do sleep 0.05; done
fi
if [ "$layer" ]; then
    ln -s elsewhere "$out/etc/resolv.conf"
    echo added >"$out/etc/added"
    exec touch --no-dereference --date=@1 "$out/etc" "$out/etc/resolv.conf" "$out/etc/added"
fi
exec tar --create --file "$out" --directory "$meeting/root" --format=pax --mtime=@1 .
"""


@pytest.fixture
def inputs(tmp_path: Path) -> Iterator[Inputs]:
    """Of a mirror that has an index of each suite, which nobody reads."""
    archives = [tmp_path / "www" / name for name in ("debian", "debian-security")]
    for archive in archives:
        for suite in ("bookworm", "bookworm-updates", "bookworm-security"):
            (archive / "dists" / suite).mkdir(parents=True)
            (archive / "dists" / suite / "InRelease").write_text(suite)
    repository = signed(tmp_path / "repository", releases=["bookworm"]).gfile_dir / "apt_signed"
    with serving(tmp_path / "www", state=tmp_path / "state") as urls:
        yield Inputs(
            release="bookworm", arch="amd64", milestone=72, epoch=EPOCH, repository=repository,
            mirror=Mirror(f"{urls.http}/debian", f"{urls.http}/debian-security"), cache=tmp_path / "cache",
            layers=(Layer(type="default", packages=()), Layer(type="test", packages=("more",))),
        )  # fmt: skip


@pytest.fixture
def meeting(tmp_path: Path, fake_tool: FakeTool) -> Path:
    """Where the builds meet: a folder `first` is there once the first has stopped, a file `go` lets it go on."""
    meeting = tmp_path / "meeting"
    for folder in ("var/lib/dpkg", "etc"):
        (meeting / "root" / folder).mkdir(parents=True)
    (meeting / "root/var/lib/dpkg/status").touch()
    (meeting / "root/etc/resolv.conf").symlink_to("elsewhere")
    fake_tool("mmdebstrap")
    return meeting


def build(inputs: Inputs, out: Path) -> None:
    """What each of the two does."""
    assert [name.type for name in build_images(inputs, KINDS, out)] == list(KINDS)


def files(out: Path) -> dict[str, bytes]:
    """The content of every file that a build left."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["base", "layer"])
def test_two_at_once_leave_the_same_bytes(inputs: Inputs, meeting: Path, tmp_path: Path, place: str) -> None:
    """The second comes while the first makes the base, or stands on it, and ends before it."""
    stop = "yes" if place == "layer" else ""
    script = MMDEBSTRAP.replace("$meeting", str(meeting)).replace("$stop_in_layer", stop)
    (tmp_path / "fake-bin/mmdebstrap").write_text(script)
    first = multiprocessing.get_context("spawn").Process(target=build, args=(inputs, tmp_path / "one"))
    first.start()
    try:
        wait_until(lambda: (meeting / "first").exists(), "the first build to stop", timeout=60)
        build(inputs, tmp_path / "two")
        assert first.is_alive()
        assert not list((tmp_path / "one").rglob("test/rootfs.squashfs"))
    finally:
        (meeting / "go").touch()
        first.join(60)
        first.kill()
    assert first.exitcode == 0
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert {"default/rootfs.squashfs", "test/rootfs.squashfs", "test/packages.tsv"} <= set(one)
    assert set(one) == set(two)
    assert [name for name in one if one[name] != two[name]] == []
    [base] = (inputs.cache / "images").iterdir()
    assert base.suffix == ".squashfs"
