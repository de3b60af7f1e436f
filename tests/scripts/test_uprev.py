"""`invoke uprev`: a real checkout and a real bucket; what is committed, and when nothing is."""

from pathlib import Path

import pytest

from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, CommandError, UsageError
from common.external import Pin
from lxd.pins import protected
from lxd.simplestreams import IMAGES
from scripts.uprev import run
from tests.scripts.tastchecks import DATA, OLD_PIN, git, publish, snapshot, tast_tests
from tests.support import Checkout

METADATA = "crostini_test_container_metadata_bookworm_amd64.tar.xz.external"
SERIAL = "20261126_10:00"
URL = "gs://cros-containers-staging/72/images/debian/bookworm/amd64/test"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    publish(tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return tast_tests(tmp_path)


def uprev(checkout: Path | str, out: Path, **arguments: object) -> None:
    usual = {"milestone": 72, "tast_tests": str(checkout), "snapshot": "", "plan": False, "out": str(out),
             "storage": "directory"}  # fmt: skip
    run(**{**usual, **arguments})  # type: ignore[arg-type]


def commits(checkout: Path) -> int:
    return len(git(checkout, "log", "--format=%h").splitlines())


def pinned(checkout: Path, name: str = METADATA) -> Pin | None:
    return Pin.read((checkout / DATA / name).read_bytes(), name)


def test_it_commits_the_pins_and_says_so(checkout: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uprev(checkout, out)
    said = capsys.readouterr().out
    assert f"{METADATA}: nothing -> 72 {SERIAL}\n" in said
    pin = pinned(checkout)
    assert pin is not None
    assert pin.url == f"{URL}/{SERIAL}/lxd.tar.xz"
    text = git(checkout, "log", "-1", "--format=%B")
    assert text.startswith(f"crostini: Uprev container images of milestone 72 to {SERIAL}\n\n")
    assert f"From gs://cros-containers-staging/72/{IMAGES}." in text
    assert f"{METADATA}: nothing -> 72 {SERIAL}" in text
    assert "BUG=none\nTEST=CQ\n" in text
    assert git(checkout, "status", "--porcelain") == ""
    assert said.splitlines()[-1] == f"committed as {git(checkout, 'rev-parse', '--short', 'HEAD').strip()}"
    names = git(checkout, "show", "--name-only", "--format=").split()
    assert sorted(names) == sorted(
        f"{DATA}/crostini_{kind}_container_{half}_{release}_{arch}.{ending}.external"
        for release, arch, kind in (
            ("bookworm", "amd64", "test"), ("bookworm", "arm", "test"), ("trixie", "amd64", "app_test"),
        )
        for half, ending in (("metadata", "tar.xz"), ("rootfs", "squashfs"))
    )  # fmt: skip
    assert pinned(checkout, OLD_PIN) is not None, "an image that is not published any more is not its business"


def test_nothing_changed_is_no_commit(checkout: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uprev(checkout, out)
    before = commits(checkout)
    capsys.readouterr()
    uprev(checkout, out)
    assert capsys.readouterr().out == "nothing to change: the checkout pins these images already\n"
    assert commits(checkout) == before


def test_a_newer_image_moves_its_pins_only(checkout: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uprev(checkout, out)
    publish(out, day=1, triples=(("bookworm", "amd64", "test"),))
    capsys.readouterr()
    uprev(checkout, out)
    changed = capsys.readouterr().out.splitlines()[:-1]
    assert changed == [
        f"crostini_test_container_{part}.external: 72 {SERIAL} -> 72 20261127_10:00"
        for part in ("metadata_bookworm_amd64.tar.xz", "rootfs_bookworm_amd64.squashfs")
    ]


def test_what_is_pinned_stays_in_the_bucket(checkout: Path, out: Path) -> None:
    """So do the images that were pinned before, until the commit has landed."""
    bucket = DirectoryBucket(out / "gs" / "cros-containers-staging")
    uprev(checkout, out)
    publish(out, day=1, triples=(("bookworm", "amd64", "test"),))
    uprev(checkout, out)
    branch = git(checkout, "rev-parse", "--abbrev-ref", "HEAD").strip()
    assert bucket.names("72/pins/") == [f"72/pins/uprev-{checkout.name}-{branch}.json"]
    found = protected(bucket, 72, tast=None)
    serials = {version.serial for version in found if version.product == "debian:bookworm:amd64:test"}
    assert serials == {SERIAL, "20261127_10:00"}
    assert set(found.values()) == {f"{bucket.url}/{bucket.names('72/pins/')[0]} ({checkout.name} {branch})"}
    uprev(checkout, out)  # a week later: it has landed
    found = protected(bucket, 72, tast=None)
    assert {each.serial for each in found if each.product == "debian:bookworm:amd64:test"} == {"20261127_10:00"}


def test_a_plan_changes_nothing(checkout: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uprev(checkout, out, plan=True)
    assert f"would pin {METADATA}: nothing -> 72 {SERIAL}" in capsys.readouterr().out
    assert not (out / "gs/cros-containers-staging/72/pins").exists()
    assert commits(checkout) == 1
    assert git(checkout, "status", "--porcelain") == ""


def test_a_snapshot_is_pinned_although_there_is_something_newer(checkout: Path, out: Path) -> None:
    made = snapshot(publish(out))
    publish(out, day=1)
    uprev(checkout, out, snapshot=made)
    pin = pinned(checkout)
    assert pin is not None
    assert pin.url == f"{URL}/{SERIAL}/lxd.tar.xz"
    assert f"From snapshot {made}." in git(checkout, "log", "-1", "--format=%B")


def test_69_is_at_the_top_of_the_bucket(checkout: Path, tmp_path: Path) -> None:
    publish(tmp_path / "out", milestone=69)
    uprev(checkout, tmp_path / "out", milestone=69)
    pin = pinned(checkout)
    assert pin is not None
    assert pin.url == f"gs://cros-containers-staging/images/debian/bookworm/amd64/test/{SERIAL}/lxd.tar.xz"


@pytest.mark.parametrize("name", ["new file", f"{DATA}/OWNERS"])
def test_a_checkout_with_changes_is_refused(checkout: Path, out: Path, name: str) -> None:
    (checkout / name).write_text("mine\n")
    with pytest.raises(UsageError, match="has changes that are not committed") as caught:
        uprev(checkout, out)
    assert Path(name).name in caught.value.details
    assert commits(checkout) == 1
    assert (checkout / name).read_text() == "mine\n"


def test_a_commit_that_git_refuses_leaves_the_checkout_as_it_was(checkout: Path, out: Path) -> None:
    hook = checkout / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho no >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(CommandError, match="git exited with 1"):
        uprev(checkout, out)
    assert git(checkout, "status", "--porcelain") == ""
    assert not (checkout / DATA / METADATA).exists()


def test_what_makes_no_sense_is_named(checkout: Path, out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no milestone is named"):
        uprev(checkout, out, milestone=0)
    with pytest.raises(UsageError, match="milestone 68 has no containers"):
        uprev(checkout, out, milestone=68)
    with pytest.raises(UsageError, match=r"gs://cros-containers-staging/73/.* is missing: nothing is published there"):
        uprev(checkout, out, milestone=73)
    with pytest.raises(UsageError, match="no checkout of tast-tests is named"):
        uprev("", out)
    with pytest.raises(UsageError, match="'/nowhere' is no git checkout"):
        uprev("/nowhere", out)
    with pytest.raises(UsageError, match="has no snapshot"):
        uprev(checkout, out, snapshot="0" * 64)
    (tmp_path / "other").mkdir()
    git(tmp_path, "init", "--quiet", str(tmp_path / "other"))
    with pytest.raises(UsageError, match="is no checkout of tast-tests"):
        uprev(tmp_path / "other", out)


def test_a_bucket_with_default_images_only(checkout: Path, tmp_path: Path) -> None:
    publish(tmp_path / "out", triples=(("bookworm", "amd64", "default"),))
    with pytest.raises(ArtifactError, match="has no image that Tast could use"):
        uprev(checkout, tmp_path / "out")


def test_the_task(pristine: Checkout, checkout: Path, out: Path) -> None:
    finished = pristine.run("invoke", "uprev", "--milestone", "72", "--tast-tests", str(checkout), "--out", str(out))
    assert finished.code == 0, finished.output
    assert finished.output.splitlines()[-1].startswith("committed as ")
    assert commits(checkout) == 2
    finished = pristine.run("invoke", "uprev", "--milestone", "68", "--tast-tests", str(checkout))
    assert finished.code == UsageError.exit_code
    assert finished.output.startswith("error: milestone 68 has no containers")
