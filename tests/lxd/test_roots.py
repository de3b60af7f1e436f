"""The cached root file systems: made once for the same inputs, and again when any of them has changed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from common import rootfs, tools
from common.errors import CommandError
from common.mirror import Mirror
from lxd import guest, roots
from lxd.image_types import Layer
from lxd.roots import KEPT, Inputs, cached_base

MIRROR = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")
LAYER = Layer(type="default", packages=("dbus",))
# Writes a tar file with nothing in it where a root is asked for: the argument after the release.
FAKE = """#!/bin/sh
for word; do
    [ "${before:-}" = bookworm ] && out=$word
    before=$word
done
tar --create --file "$out" --files-from /dev/null
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
    monkeypatch.setattr(rootfs, "state", lambda *_: ["one state"])
    return program


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    repository = tmp_path / "repository"
    index = guest.packages_index(repository, "bookworm", "amd64")
    index.parent.mkdir(parents=True)
    index.write_text("Package: cros-guest-tools\n")
    guest.keyring_of(repository).write_text("a key\n")
    return Inputs(
        release="bookworm", arch="amd64", milestone=72, epoch=1700000000, repository=repository, mirror=MIRROR,
        cache=tmp_path / "cache",
    )  # fmt: skip


def calls(program: Path) -> int:
    return len(Path(f"{program}.calls").read_text().splitlines())


def test_the_same_inputs_are_made_once(mmdebstrap: Path, inputs: Inputs) -> None:
    first = cached_base(inputs, LAYER, ())
    assert cached_base(inputs, LAYER, ()) == first
    assert calls(mmdebstrap) == 1
    assert [path.name for path in (inputs.cache / "images").iterdir()] == [first.name]
    assert "squashfs" in tools.capture(["unsquashfs", "-stat", first])


@pytest.mark.parametrize(
    "change",
    [
        lambda inputs: replace(inputs, milestone=73),
        lambda inputs: replace(inputs, epoch=1),
        lambda inputs: replace(inputs, mirror=Mirror("http://other.example/debian", MIRROR.security)),
    ],
)
def test_other_inputs_make_another_root(mmdebstrap: Path, inputs: Inputs, change: Callable[[Inputs], Inputs]) -> None:
    assert cached_base(inputs, LAYER, ()) != cached_base(change(inputs), LAYER, ())
    assert calls(mmdebstrap) == 2


def test_what_is_asked_elsewhere_makes_another_root(
    mmdebstrap: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = [cached_base(inputs, LAYER, ())]
    made.append(cached_base(inputs, replace(LAYER, packages=("dbus", "fio")), ()))
    guest.packages_index(inputs.repository, "bookworm", "amd64").write_text("Package: cros-guest-fools\n")
    made.append(cached_base(inputs, LAYER, ()))
    monkeypatch.setattr(rootfs, "state", lambda *_: ["another state"])
    made.append(cached_base(inputs, LAYER, ()))
    finish = tmp_path / "finish.sh"
    finish.write_text("#!/bin/sh\n")
    monkeypatch.setattr(roots, "_OWN_FILES", (finish,))
    made.append(cached_base(inputs, LAYER, ()))
    assert len(set(made)) == len(made)


def test_only_the_newest_are_kept(mmdebstrap: Path, inputs: Inputs) -> None:
    made = [cached_base(replace(inputs, epoch=epoch), LAYER, ()) for epoch in range(KEPT + 2)]
    assert [path.exists() for path in made] == [False, False, *([True] * KEPT)]


def test_a_failed_root_leaves_nothing(mmdebstrap: Path, inputs: Inputs) -> None:
    mmdebstrap.write_text(f"{FAKE}exit 1\n")
    with pytest.raises(CommandError):
        cached_base(inputs, LAYER, ())
    assert list((inputs.cache / "images").iterdir()) == []


def test_what_a_killed_run_left_is_removed(mmdebstrap: Path, inputs: Inputs) -> None:
    left = inputs.cache / "images" / ".base-killed"
    left.mkdir(parents=True)
    cached_base(inputs, LAYER, ())
    assert not left.exists()
