"""Small images for the boot checks, made in seconds: one base root file system, and what a test adds or takes away."""

import io
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from common import tools
from common.files import ROOT
from common.mirror import Mirror
from common.rootfs import Recipe, cached_tar

PACKAGES = (
    "dbus", "dbus-user-session", "init", "libpam-systemd", "openssh-server", "openssh-sftp-server", "python3", "udev",
)  # fmt: skip
SOMMELIER = """\
[Service]
Type=notify
Restart=always
RestartSec=1
ExecStartPre=/bin/sh -c 'if [ -c /dev/dri/renderD128 ]; then systemctl --user set-environment \
SOMMELIER_DRM_DEVICE=/dev/dri/renderD128 {glamor}; fi'
ExecStart=/opt/google/cros-containers/bin/sommelier {options} --sd-notify=READY=1 \
/bin/sh -c 'systemctl --user import-environment {variable} SOMMELIER_VERSION'
"""
UNITS = {
    "etc/systemd/system/cros-sftp.service": """\
[Unit]
ConditionPathExists=/dev/.ssh/sshd_config
[Service]
Type=notify
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -f /dev/.ssh/sshd_config
[Install]
WantedBy=multi-user.target
""",
    "etc/systemd/user/sommelier@.service": SOMMELIER.format(
        options="--parent --socket=wayland-%i", variable="WAYLAND_DISPLAY", glamor=""
    ),
    "etc/systemd/user/sommelier-x@.service": SOMMELIER.format(
        options="-X --x-display=%i", variable="DISPLAY", glamor="SOMMELIER_GLAMOR=1"
    ),
    "etc/systemd/user/cros-garcon.service": """\
[Unit]
After=sommelier@0.service sommelier-x@0.service
[Service]
ExecStart=/opt/google/cros-containers/bin/garcon --server
Restart=always
""",
    "etc/ssh/sshd_not_to_be_run": "",
}
LINKS = {
    # LXD hands the machine's /proc/sys/fs/binfmt_misc on, where a container cannot register python3's format.
    "etc/systemd/system/systemd-binfmt.service": "/dev/null",
    "etc/systemd/system/multi-user.target.wants/cros-sftp.service": "/etc/systemd/system/cros-sftp.service",
    **{
        f"etc/systemd/user/default.target.wants/{unit}": f"/etc/systemd/user/{source}"
        for unit, source in (
            ("sommelier@0.service", "sommelier@.service"),
            ("sommelier-x@0.service", "sommelier-x@.service"),
            ("cros-garcon.service", "cros-garcon.service"),
        )
    },
}


@dataclass(frozen=True)
class SplitImage:
    """An image's two files."""

    metadata: Path
    rootfs: Path


@dataclass(frozen=True)
class Change:
    """What a test wants different: files by path (None takes one away), and links."""

    files: Mapping[str, str | None] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


MakeImage = Callable[[str, Change], SplitImage]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs the base root file system needs the mirror."""
    for item in items:
        if "base_tar" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.mirror)


@pytest.fixture(scope="session")
def base_tar() -> Path:
    """A bookworm root with systemd, a user session, sshd and python3: made once for each state of the mirror."""
    arch = tools.capture(["dpkg", "--print-architecture"]).strip()
    recipe = Recipe(release="bookworm", arch=arch, variant="minbase", include=PACKAGES)
    return cached_tar(recipe, ROOT / "out" / "cache" / "rootfs", mirror=Mirror.of_this_machine())


@pytest.fixture(scope="session")
def make_image(base_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeImage:
    """Make an image: the base, our units, and a change to them."""

    def make(name: str, change: Change) -> SplitImage:
        place = tmp_path_factory.mktemp(name)
        tar = place / "rootfs.tar"
        shutil.copyfile(base_tar, tar)
        with tarfile.open(tar, "a") as archive:
            for path, content in {**UNITS, **change.files}.items():
                if content is not None:
                    _add_file(archive, path, content)
            for path, target in {**LINKS, **change.links}.items():
                if change.files.get(target.lstrip("/"), "") is not None:
                    _add_link(archive, path, target)
        rootfs = place / "rootfs.squashfs"
        # lz4: it is packed and unpacked once, on a shared machine.
        tools.run(
            ["sh", "-c", 'exec sqfstar -quiet -no-progress -comp lz4 "$1" <"$2"', "sh", rootfs, tar],
            timeout=120,
            quiet=True,
        )
        tar.unlink()
        return SplitImage(_metadata(place), rootfs)

    return make


@pytest.fixture(scope="session")
def good_image(make_image: MakeImage) -> SplitImage:
    """An image that passes every check."""
    return make_image("good", Change())


def _add_file(archive: tarfile.TarFile, path: str, content: str) -> None:
    entry = tarfile.TarInfo(f"./{path}")
    entry.size = len(content.encode())
    archive.addfile(entry, io.BytesIO(content.encode()))


def _add_link(archive: tarfile.TarFile, path: str, target: str) -> None:
    entry = tarfile.TarInfo(f"./{path}")
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    archive.addfile(entry)


def _metadata(place: Path) -> Path:
    path = place / "lxd.tar"
    machine = tools.capture(["uname", "-m"]).strip()
    with tarfile.open(path, "w") as archive:
        text = f"architecture: {machine}\ncreation_date: 1\nproperties:\n  description: a test\n"
        entry = tarfile.TarInfo("metadata.yaml")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
    return path
