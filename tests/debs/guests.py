"""Containers with what our packages depend on, in which apt installs them without network; with the host's user."""

import base64
import hashlib
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from common import tools
from common.errors import CheckFailedError
from common.files import ROOT
from common.mirror import Mirror, native_arch
from common.rootfs import Recipe, cached_tar
from debs.releases import DEBS, find_release
from debs.source import control_of
from lxd import host
from lxd.client import wait_for
from lxd.container import Container, import_image
from lxd.daemon import Lxd

CACHE = ROOT / "out" / "cache"
EPOCH = 1700000000
REPOSITORIES = "/mnt/debs"
FONT = "/usr/share/fonts/truetype/croscore/Cousine-Regular.ttf"
LINGER_UNIT = f"user@{host.UID}.service"
APT_TIMEOUT = 300.0
# What fails of Debian's own in an unprivileged container of a release without our packages.
DEBIANS_FAILURES = {"bullseye": ("systemd-journald-audit.socket", "systemd-udev-trigger.service")}
DRIVERS = ("swrast_dri.so", "virtio_gpu_dri.so")
# The mocks are Python programs; the rest is what the image of a release has besides our packages' dependencies.
_ALWAYS = ("desktop-file-utils", "libpam-systemd", "python3", "sudo", "systemd", "systemd-sysv", "udev")
# Files of others that come and go while a system runs, and people's own.
_NOT_OURS = re.compile(
    r"/(proc|sys|dev|run|tmp|root|home|var/(tmp|log|cache|lib/(dpkg|apt|PackageKit|systemd/(timers|catalog|random-seed))))/"
    r"|/etc/(ld\.so\.cache|mtab|\.pwd\.lock|resolv\.conf)|/var/lib/systemd/(random-seed|timesync)|/mnt/|/etc/(passwd|group|g?shadow)-"
)
_SNAPSHOT = r"""
find / -xdev -printf '%p | %y %m %u:%g %l\n'
find /etc -xdev -type f -exec sha256sum {} + | sed 's#^\([0-9a-f]*\)  \(.*\)#\2 | sum \1#'
dpkg-divert --list
update-alternatives --get-selections
getent passwd
getent group
systemctl list-unit-files --state=masked --no-legend
"""


@dataclass(frozen=True)
class Kind:
    """Which container.

    Attributes:
        release: Debian's codename.
        full: with everything that cros-guest-tools recommends, rather than with what any of our packages needs.
    """

    release: str
    full: bool

    def __str__(self) -> str:
        """As it is named in a test's name."""
        return f"{self.release}-{'full' if self.full else 'lean'}"

    def suits(self, package: str) -> bool:
        """Whether the container has what one of our packages depends on; where it is full, not both sound servers."""
        return not (self.full and self.release != "bullseye" and package == "cros-pulse-config")


def recipe_for(kind: Kind) -> Recipe:
    """A root with what our packages depend on (and recommend), and none of them."""
    text = control_of(find_release(kind.release), (DEBS / "debian" / "control").read_text())
    packages = {section["Package"]: section for section in Deb822.iter_paragraphs(text) if "Package" in section}
    fields = ("Depends", "Recommends") if kind.full else ("Depends",)
    include, reached = set(_ALWAYS), set()
    waiting = ["cros-guest-tools"] if kind.full else list(packages)
    while waiting:
        package = waiting.pop()
        reached.add(package)
        for field in fields:
            for name in re.findall(r"(?:^|,)\s*([a-z0-9.+-]+)", packages[package].get(field, "")):
                if name not in packages:
                    include.add(name)
                elif name not in reached:
                    waiting.append(name)
    if kind.full and kind.release != "bullseye":
        include.add("ansible-core")  # for the callback; bullseye's ansible is many times as large
    return Recipe(
        release=kind.release, arch=native_arch(), variant="apt", include=tuple(sorted(include)), source_date_epoch=EPOCH
    )  # fmt: skip


def make_repository(directory: Path) -> None:
    """Make a flat apt repository, with the label of the real one, of the packages in a directory."""
    packages = tools.capture(["dpkg-scanpackages", "--multiversion", "."], cwd=directory, timeout=60).encode()
    (directory / "Packages").write_bytes(packages)
    digest = hashlib.sha256(packages).hexdigest()
    (directory / "Release").write_text(f"Label: cros-containers\nSHA256:\n {digest} {len(packages)} Packages\n")


class Guest:
    """A container as the host makes it, with its user, and with repositories of ours below /mnt/debs."""

    def __init__(self, container: Container, kind: Kind) -> None:
        self.root, self.user, self.kind = container, container.as_user(host.UID), kind

    def sh(self, script: str, *, timeout: float = 60) -> str:
        """Run a shell script as root; it has to succeed."""
        return self.root.get(["sh", "-euc", script], timeout=timeout)

    def login(self, script: str, *, timeout: float = 60) -> str:
        """Run a shell script in a login shell of the user."""
        return self.root.get(["runuser", "--login", host.USER, "--command", script], timeout=timeout)

    def write(self, path: str, text: str, *, mode: str = "644") -> None:
        """Write a file."""
        self.root.get(["sh", "-euc", 'printf %s "$2" >"$1"; chmod "$3" "$1"', "sh", path, text, mode])

    def use(self, repository: str) -> None:
        """Let apt know one of the repositories, and nothing else."""
        self.write("/etc/apt/sources.list.d/local.list", f"deb [trusted=yes] file:{REPOSITORIES}/{repository} ./\n")
        self.apt("update")

    def apt(self, *words: str) -> str:
        """Run apt-get as an unattended upgrade does: nobody answers questions."""
        argv = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", *words]
        return self.root.get(argv, timeout=APT_TIMEOUT)

    def ours(self) -> dict[str, str]:
        """Version and state of each package of ours that dpkg knows."""
        shown = self.root.get(["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Abbrev}\n"])
        return {
            line.split(" ", 1)[0]: line.split(" ", 1)[1].strip()
            for line in shown.splitlines()
            if line.startswith("cros-")
        }  # fmt: skip

    def more(self) -> list[str]:
        """The packages that nothing brings along, and that this container has everything for."""
        others = {"cros-port-listener", "cros-tast-tests"}
        if not self.kind.full:
            listed = self.sh("apt-cache pkgnames cros-").split()
            others = set(listed) - {"cros-gpu-alpha"}  # it conflicts with cros-gpu
        return sorted(others)

    def restart(self) -> None:
        """Switch it off and on again, as Chrome OS does."""
        self.root.stop()
        self.root.start()

    def calls(self, program: str) -> list[list[str]]:
        """The arguments of each call of a host's program by the user."""
        found = (call["argv"] for call in self.user.mock_calls(program))
        return [[str(word) for word in argv] for argv in found if isinstance(argv, list)]

    def purge(self) -> None:
        """Remove all our packages, and then their configuration; what they brought along stays."""
        self.root.get(["dpkg", "--remove", *self.ours()], timeout=APT_TIMEOUT)
        self.root.get(["dpkg", "--purge", *self.ours()], timeout=APT_TIMEOUT)

    def failures(self, *, but: Collection[str] | None = None) -> list[str]:
        """What either manager, as it is and with the user's started anew, or dpkg has to complain about.

        Args:
            but: units that may have failed; without it, those that fail in Debian's own container.
        """
        allowed = DEBIANS_FAILURES.get(self.kind.release, ()) if but is None else but
        found = []
        for step in ("as it is", "started anew"):
            if step == "started anew":
                self.root.get(["systemctl", "restart", LINGER_UNIT], timeout=120)
            for view in (self.root, self.user):
                try:
                    view.wait_running(but=allowed)
                except CheckFailedError as err:
                    found.append(f"{step}: {err.what}\n{err.details}")
        return found + self.root.get(["dpkg", "--audit"]).splitlines()

    def snapshot(self) -> set[str]:
        """Every file with its kind, mode, owner and target, every sum in /etc, and what is kept by name."""
        return {line for line in self.sh(_SNAPSHOT).splitlines() if not _NOT_OURS.match(line)}


@dataclass(frozen=True)
class Base:
    """A container to clone: prepared, switched off, with nothing of ours in it.

    Attributes:
        repositories: the directory that guests see as /mnt/debs.
    """

    daemon: Lxd
    kind: Kind
    repositories: Path

    def clone(self, name: str, *, of: str = "base") -> Guest:
        """A running copy of the base, or of another one's disk."""
        client = self.daemon.connect()
        source = client.api.instances[f"{of}-{self.kind}"].get().json()["metadata"]
        asked = {
            "name": f"{name}-{self.kind}",
            "source": {"type": "copy", "source": source["name"]},
            "devices": source["devices"],
            "profiles": source["profiles"],
        }
        wait_for(client, client.api.instances.post(json=asked))
        container = Container(client, f"{name}-{self.kind}")
        container.start()
        guest = Guest(container, self.kind)
        failures = guest.failures()
        assert not failures, "\n".join(failures)
        return guest


def prepare(daemon: Lxd, kind: Kind, debs: Path, place: Path) -> Base:
    """Make the base of a kind.

    Args:
        debs: our packages.
        place: an empty directory, kept as long as the containers.
    """
    repositories, shared = place / "debs", place / "chromeos"
    shutil.copytree(debs, repositories / "ours")
    make_repository(repositories / "ours")
    (shared / "fonts").mkdir(parents=True)
    (place / "host").mkdir()
    host_devices = host.devices(place / "host")
    for name in DRIVERS:
        library = Path(host_devices["cros-containers"]["source"]) / "lib" / name
        library.write_text("")
        library.chmod(0o644)
    vsock = {"type": "unix-char", "source": "/dev/vsock", "path": "/dev/vsock", "major": "10", "minor": "62"}
    devices = host_devices | {
        "debs": {"type": "disk", "source": str(repositories), "path": REPOSITORIES, "readonly": "true"},
        "chromeos": {"type": "disk", "source": str(shared), "path": "/mnt/chromeos"},
        "vsock": vsock | {"required": "false"},
    }
    for path in (repositories, shared):
        path.chmod(0o755)
    tar = cached_tar(recipe_for(kind), CACHE / "rootfs", mirror=Mirror.of_this_machine())
    client = daemon.connect()
    image = import_image(client, _metadata(place), tar)
    container = Container.create(client, f"base-{kind}", image=image, devices=devices)
    container.start()
    container.wait_settled()
    host.make_user(container)
    guest = Guest(container, kind)
    guest.sh("""
ln -s /dev/null /etc/systemd/system/systemd-binfmt.service
: >/etc/apt/sources.list
rm -rf /etc/apt/sources.list.d/*
rm -rf /var/log/journal
echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/test
touch /etc/ssh/sshd_not_to_be_run
rm -f /var/lib/man-db/auto-update  # indexing manual pages after each dpkg takes as long as dpkg
""")
    encoded = container.run(["base64", FONT])
    if encoded.exit_code == 0:
        (shared / "fonts" / "OfTheHost.ttf").write_bytes(base64.b64decode(encoded.out))
        (shared / "fonts" / "OfTheHost.ttf").chmod(0o644)
    container.stop()
    return Base(daemon, kind, repositories)


def _metadata(place: Path) -> Path:
    text = f"architecture: {tools.capture(['uname', '-m']).strip()}\ncreation_date: 1\n"
    (place / "metadata.yaml").write_text(text)
    tools.run(["tar", "--create", f"--file={place}/lxd.tar", f"--directory={place}", "metadata.yaml"])
    return place / "lxd.tar"


def differences(before: set[str], after: set[str]) -> Iterator[str]:
    """What is there no more, and what is there now, readable in an assertion's message."""
    yield from sorted(f"- {line}" for line in before - after)
    yield from sorted(f"+ {line}" for line in after - before)
