"""What is ours in a guest's root file system: its packages, its apt sources, and how it is finished (finish.sh)."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from common.milestones import url_of
from common.mirror import KEYRING, Mirror

FINISH = Path(__file__).with_name("finish.sh")
# On top of mmdebstrap's minbase, where no dependency of cros-guest-tools brings it: what the boot checks and the host
# run inside (python3, a user's systemd), a locale, and the network. bookworm split systemd-resolved and pkexec off.
_PACKAGES = (
    "ca-certificates", "dbus", "dbus-user-session", "iproute2", "libpam-systemd", "locales", "netbase", "procps",
    "python3", "systemd-sysv", "tzdata", "udev",
)  # fmt: skip
_RESOLVER = "systemd-resolved"
GUEST_TOOLS = "cros-guest-tools"
LABEL = "cros-containers"
LIVE = "https://storage.googleapis.com/cros-packages"
# cros-apt-config brings it.
CROS_KEYRING = "/usr/share/keyrings/cros-archive-keyring.gpg"


def packages(release: str) -> tuple[str, ...]:
    """The packages of the default image, their dependencies and recommendations aside."""
    apart = ("policykit-1",) if release == "bullseye" else (_RESOLVER, "pkexec")
    return (*_PACKAGES, *apart, GUEST_TOOLS)


def keyring_of(repository: Path) -> Path:
    """The armoured key of a signed repository."""
    return repository / "cros-archive-keyring.asc"


def packages_index(repository: Path, release: str, arch: str) -> Path:
    """The index of what a repository has for a release and an architecture, with the digest of every package."""
    return repository / "dists" / release / "main" / f"binary-{arch}" / "Packages"


def build_sources(repository: Path, release: str) -> str:
    """The deb822 source of the signed repository an image is built from.

    The key is in it rather than a path, as paths with spaces have no place in apt's sources; `copy:` rather than
    `file:`, as dpkg runs inside the new root.
    """
    key = keyring_of(repository).read_text()
    embedded = "\n".join(f" {line.strip() or '.'}" for line in key.strip().splitlines())
    uri = "copy:" + str(repository.resolve()).replace("%", "%25").replace(" ", "%20")
    return f"Types: deb\nURIs: {uri}\nSuites: {release}\nComponents: main\nSigned-By:\n{embedded}\n"


def build_preferences(non_free: Sequence[str] = ()) -> str:
    """The pins while an image is built; cros-apt-config brings the guest's own.

    Our repository wins, nothing comes from Debian's non-free but what is named, and there is no mail: some packages
    recommend it (bullseye's logrotate, emacs), and a mail server makes keys and a host's name of its own.
    """
    mail = "bsd-mailx exim4* mailutils s-nail"
    pins = [("*", f"l={LABEL}", 1001), ("*", "c=non-free", -1), (mail, "*", -1)]
    pins += [(package, "c=non-free", 500) for package in non_free]
    return "\n".join(f"Package: {names}\nPin: release {where}\nPin-Priority: {pin}\n" for names, where, pin in pins)


def guest_files(mirror: Mirror, *, release: str, milestone: int) -> dict[str, str]:
    """The text of each file that is ours, by its path in the guest.

    The host writes cros.list itself when it makes a container, with the same URL: one file of that name, and not two
    that apt would find in conflict.
    """
    debian = "\n".join(
        textwrap.dedent(f"""\
            Types: deb
            URIs: {uri}
            Suites: {suites}
            Components: main
            Signed-By: {KEYRING}
            """)
        for uri, suites in (
            (mirror.archive, f"{release} {release}-updates"),
            (mirror.security, f"{release}-security"),
        )
    )
    ours = url_of(LIVE, milestone)
    return {
        "etc/apt/sources.list.d/debian.sources": debian,
        "etc/apt/sources.list.d/cros.list": f"deb [signed-by={CROS_KEYRING}] {ours} {release} main\n",
        "etc/default/locale": "LANG=en_US.UTF-8\n",
        "etc/locale.conf": "LANG=en_US.UTF-8\n",  # trixie's systemd makes the former a link to it
        "etc/locale.gen": "en_US.UTF-8 UTF-8\n",
        "etc/ssh/sshd_not_to_be_run": "",
        # trixie's ping has no capability of its own, and systemd's range has groups that a container has not.
        "etc/sysctl.d/60-cros-ping.conf": "net.ipv4.ping_group_range = 0 65534\n",
    }
