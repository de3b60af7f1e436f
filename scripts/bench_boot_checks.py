"""How long the boot checks take: three tests done one after the other with fixed sleeps, against the checks of today.

The first way is what the project's predecessor did, measured on the same image in the same run: the image imported as
one .tar.xz of metadata and root, which was made for this test alone (making it is not measured); a container for each
test on a `dir` pool, so that the whole image is unpacked each time; ten seconds' sleep after the boot and ten after the
user was made; one command after the other; an orderly stop; the container deleted.
"""

import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pylxd

from common import tools
from common.files import workspace
from lxd import host
from lxd.client import wait_for
from lxd.container import Container
from lxd.daemon import Lxd, lxd
from lxd.report import Report
from lxd.test import check_image

SLEEP = 10.0
TESTS = ("user services", "user services with a GPU", "cros-sftp")
POOL = "unpacked-each-time"


@dataclass(frozen=True)
class Result:
    """Both ways' wall seconds, and how many things each looks at."""

    one_by_one: float
    ours: float
    checks: int

    @property
    def ratio(self) -> float:
        """How many times as fast ours is."""
        return self.one_by_one / self.ours


def measure(metadata: Path, rootfs: Path, repository: Path) -> Result:
    """Measure both ways on one image, which was built from this signed repository."""
    with workspace("bench-boot") as place:
        begun = time.monotonic()
        report = check_image(metadata, rootfs, place, repository=repository)
        ours = time.monotonic() - begun
        return Result(_one_by_one(_unified(metadata, rootfs, place), place), ours, checked(report))


def checked(report: Report) -> int:
    """How many checks were not skipped."""
    return sum(1 for outcome in report.outcomes if not outcome.skipped)


def _unified(metadata: Path, rootfs: Path, place: Path) -> Path:
    """The same image in one tarball, as the predecessor's test took it."""
    parts, unified = place / "parts", place / "unified.tar.xz"
    parts.mkdir()
    tools.run(["tar", "--extract", f"--file={metadata}", f"--directory={parts}"], quiet=True)
    tools.run(["unsquashfs", "-no-progress", "-dest", parts / "rootfs", rootfs], quiet=True)
    packed = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "--use-compress-program=pixz"]
    tools.run(["tar", "--create", *packed, f"--file={unified}", f"--directory={parts}", "."], quiet=True)
    return unified


def _one_by_one(unified: Path, place: Path) -> float:
    """The time from the import of the image to the last container's end; the daemon was always running there."""
    with lxd() as daemon:
        client = daemon.connect()
        client.api.storage_pools.post(json={"name": POOL, "driver": "dir"})
        root = {"type": "disk", "path": "/", "pool": POOL}
        client.api.profiles["default"].put(params={"project": daemon.project}, json={"devices": {"root": root}})
        plain = host.devices(place)
        begun = time.monotonic()
        image = _import(client, unified)
        for number, test in enumerate(TESTS):
            devices = plain | (host.gpu_device() if "GPU" in test else {})
            _test(daemon, image, f"bench-{number}", devices, user=test != "cros-sftp")
        return time.monotonic() - begun


def _import(client: pylxd.Client, unified: Path) -> str:
    with unified.open("rb") as file:
        posted = client.api.images.post(data=file, headers={"Content-Type": "application/octet-stream"})
    return str(client.operations.wait_for_operation(posted.json()["operation"]).metadata["fingerprint"])


def _test(daemon: Lxd, image: str, name: str, devices: host.Devices, *, user: bool) -> None:
    container = Container.create(daemon.connect(), name, image=image, devices=devices)
    container.start()
    _sleep()
    if user:
        container.get(["useradd", "-u", "1000", "-s", "/bin/bash", "-m", host.USER])
        for group in host.GROUPS:
            container.get(["usermod", "-aG", group, host.USER])
        container.get(["loginctl", "enable-linger", host.USER])
        _sleep()
        for unit in ("cros-garcon", "sommelier@0", "sommelier-x@0"):
            container.get(["su", "-c", f"systemctl --user is-active {unit}.service", host.USER])
        for variable in ("SOMMELIER_GLAMOR", "SOMMELIER_DRM_DEVICE"):
            container.run(["su", "-c", f"systemctl --user show-environment | grep -q {variable}", host.USER])
    else:
        container.get(["systemctl", "is-active", "cros-sftp.service"])
    client = daemon.connect()
    node = client.api.instances[name]
    wait_for(client, node.state.put(json={"action": "stop", "timeout": 30, "force": False}))
    wait_for(client, node.delete())


def _sleep() -> None:
    # What is measured is a fixed sleep; nothing else in this project has one.
    threading.Event().wait(SLEEP)
