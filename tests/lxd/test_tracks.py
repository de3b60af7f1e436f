"""A run of checks on small images: what is run where, what is skipped, and the reasons in the report.

Each check by itself is in test_checks.py, with a whole image.
"""

import os
import shutil
from pathlib import Path

import pytest
from junitparser import JUnitXml

from common.errors import CheckFailedError, ImageError
from lxd import container, host
from lxd.checks import CHECKS, Situation
from lxd.report import FILE
from lxd.servers import Server
from lxd.test import check_image
from tests.lxd.conftest import SOMMELIER, Change, MakeImage, SplitImage

pytestmark = [pytest.mark.lxd, pytest.mark.root]

# The checks that an image has to pass which has systemd, a session and sshd, and nothing else of a guest.
SMALL = (
    "system-boots", "system-runs", "starts-in-time", "machine-id-is-its-own", "user-made", "sftp-waits", "sftp-serves",
    "user-services-run", "no-gpu-unset", "gpu-set", "stops-cleanly", "starts-again", "no-unit-failed-at-the-end",
)  # fmt: skip

ALWAYS_A_GPU = SOMMELIER.replace("[ -c /dev/dri/renderD128 ]", "true")
NEVER_A_GPU = SOMMELIER.replace("[ -c /dev/dri/renderD128 ]", "false")


def sommelier_x(template: str) -> dict[str, str | None]:
    """The X11 unit made from a template."""
    unit = template.format(options="-X --x-display=%i", variable="DISPLAY", glamor="SOMMELIER_GLAMOR=1")
    return {"etc/systemd/user/sommelier-x@.service": unit}


def failures(results: Path) -> dict[tuple[str, str], str]:
    """What sponge_log.xml says failed: (situation, check) -> the text."""
    return {
        (suite.name, case.name): f"{result.message}\n{result.text}"
        for suite in JUnitXml.fromfile(str(results / FILE))
        for case in suite
        for result in case.result
        if type(result).__name__ == "Failure"
    }


def check_broken(image: SplitImage, tmp_path: Path, mocks: Path = host.MOCKS) -> dict[tuple[str, str], str]:
    """Check an image that has to fail; returns its failures."""
    with pytest.raises(CheckFailedError) as caught:
        check_image(image.metadata, image.rootfs, tmp_path, only=SMALL, parent=tmp_path, mocks=mocks)
    found = failures(tmp_path)
    for situation, name in found:
        assert f"{name} ({situation})" in caught.value.what
    return found


def test_a_good_image_passes_all_of_them(server: Server, good_image: SplitImage, tmp_path: Path) -> None:
    report = check_image(good_image.metadata, good_image.rootfs, tmp_path, server=server, only=SMALL, parent=tmp_path)
    wanted = {(situation, check.name) for check in CHECKS for situation in check.situations if check.name in SMALL}
    assert {(outcome.situation, outcome.name) for outcome in report.outcomes} == wanted
    assert not any(outcome.failure or outcome.skipped for outcome in report.outcomes)
    assert failures(tmp_path) == {}
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_a_failing_unit_a_missing_one_and_a_gpu_that_is_not_there(make_image: MakeImage, tmp_path: Path) -> None:
    unit = "etc/systemd/system/broken.service"
    files = {
        unit: "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo this is the reason; exit 3'\n",
        "etc/systemd/system/cros-sftp.service": None,
        **sommelier_x(ALWAYS_A_GPU),
    }
    links = {"etc/systemd/system/multi-user.target.wants/broken.service": f"/{unit}"}
    found = check_broken(make_image("broken", Change(files, links)), tmp_path)
    assert set(found) == {
        ("bare", "system-runs"), ("host", "system-runs"), ("gpu", "system-runs"),
        ("bare", "sftp-waits"), ("host", "sftp-serves"), ("gpu", "sftp-serves"),
        ("host", "no-gpu-unset"), ("host", "starts-again"),
    }  # fmt: skip
    assert "'degraded', not 'running': broken.service failed" in found["bare", "system-runs"]
    assert "this is the reason" in found["bare", "system-runs"]
    assert "'not-found'" in found["bare", "sftp-waits"]
    assert "SOMMELIER_GLAMOR" in found["host", "no-gpu-unset"]


def test_a_sommelier_that_crashes_and_a_gpu_that_is_not_seen(make_image: MakeImage, tmp_path: Path) -> None:
    mocks = tmp_path / "mocks"
    shutil.copytree(host.MOCKS, mocks)
    # Wayland's crashes, X11's does not.
    (mocks / "bin/sommelier").rename(mocks / "bin/sommelier-that-works")
    (mocks / "bin/sommelier").write_text(
        '#!/bin/sh\ncase $1 in -X) exec "$0-that-works" "$@";; esac\necho no compositor here >&2\nexit 1\n'
    )
    image = make_image("blind", Change(sommelier_x(NEVER_A_GPU)))
    found = check_broken(image, tmp_path, mocks)
    assert set(found) == {
        ("host", "user-services-run"), ("gpu", "user-services-run"), ("gpu", "gpu-set"), ("host", "starts-again"),
    }  # fmt: skip
    assert "sommelier@0.service is" in found["host", "user-services-run"]
    assert "sommelier-x@0.service" not in found["host", "user-services-run"].splitlines()[0]
    assert "no compositor here" in found["host", "user-services-run"]
    assert "SOMMELIER_GLAMOR" in found["gpu", "gpu-set"]


def test_a_system_that_does_not_finish_starting(
    make_image: MakeImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "BOOT_TIMEOUT", 5.0)
    unit = "etc/systemd/system/endless.service"
    files = {unit: "[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=sleep infinity\n"}
    links = {"etc/systemd/system/multi-user.target.wants/endless.service": f"/{unit}"}
    image = make_image("endless", Change(files, links))
    with pytest.raises(CheckFailedError):
        check_image(image.metadata, image.rootfs, tmp_path, only=["sftp-waits"], parent=tmp_path)
    found = failures(tmp_path)
    assert set(found) == {("bare", "system-boots")}
    assert "the system did not start in 5 s" in found["bare", "system-boots"]
    assert "endless.service" in found["bare", "system-boots"]


def test_no_user_can_be_made(make_image: MakeImage, tmp_path: Path) -> None:
    unit = "etc/systemd/system/no-floppy.service"
    files = {unit: "[Service]\nType=oneshot\nExecStart=-/usr/sbin/groupdel floppy\n"}
    links = {"etc/systemd/system/multi-user.target.wants/no-floppy.service": f"/{unit}"}
    image = make_image("no-floppy", Change(files, links))
    with pytest.raises(CheckFailedError):
        check_image(image.metadata, image.rootfs, tmp_path, only=["user-services-run"], parent=tmp_path)
    found = failures(tmp_path)
    assert set(found) == {("host", "user-made"), ("gpu", "user-made")}
    assert "the image lacks the groups floppy" in found["host", "user-made"]
    skipped = [case.name for suite in JUnitXml.fromfile(str(tmp_path / FILE)) for case in suite if case.is_skipped]
    assert skipped.count("user-services-run") == 2


@pytest.mark.parametrize("how", ["truncated", "garbage"])
def test_a_corrupt_squashfs_is_an_image_error(good_image: SplitImage, tmp_path: Path, how: str) -> None:
    rootfs = tmp_path / "rootfs.squashfs"
    if how == "garbage":
        rootfs.write_bytes(b"hsqs" + os.urandom(100_000))
    else:
        rootfs.write_bytes(good_image.rootfs.read_bytes()[:5_000_000])
    results = tmp_path / "results"
    with pytest.raises(ImageError, match="cannot unpack the image") as caught:
        check_image(good_image.metadata, rootfs, results, parent=tmp_path)
    assert "Unpack failed" in caught.value.details
    assert set(failures(results)) == {("bare", "image-starts")}


def test_a_metadata_file_that_is_none(good_image: SplitImage, tmp_path: Path) -> None:
    metadata = tmp_path / "lxd.tar.xz"
    metadata.write_bytes(b"no tar")
    with pytest.raises(ImageError, match="no LXD image"):
        check_image(metadata, good_image.rootfs, tmp_path, parent=tmp_path)


def test_only_some_checks(good_image: SplitImage, tmp_path: Path) -> None:
    report = check_image(good_image.metadata, good_image.rootfs, tmp_path, only=["no-gpu-unset"], parent=tmp_path)
    names = [(outcome.situation, outcome.name) for outcome in report.outcomes]
    assert names == [(Situation.HOST, "system-boots"), (Situation.HOST, "user-made"), (Situation.HOST, "no-gpu-unset")]
