"""The two servers that run our images, LXD and Incus: one a fork of the other, and spoken to in the same way."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from common import tools
from common.errors import LxdUnavailableError, ReleaseError, ToolMissingError
from common.mirror import KEYRING, Mirror


class Server(StrEnum):
    """A server, by the name users give it."""

    LXD = "lxd"
    INCUS = "incus"

    @property
    def kind(self) -> "Kind":
        """What is different about it."""
        return _KINDS[self]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What is different about a server.

    Attributes:
        title: its name in sentences.
        program: its daemon; `places` are where that may be, besides PATH.
        home: its directory as its packages have it; the paths of sockets in there are short.
        usual: the directories of one that may be running already.
        variable: which names the directory to its programs.
        client: the command line client.
        missing: the error where it is not installed.
    """

    title: str
    program: str
    places: tuple[str, ...] = ()
    home: Path
    usual: tuple[Path, ...]
    variable: str
    client: str
    missing: Callable[[], ReleaseError]

    def find(self) -> Path:
        """Where its daemon is.

        Raises:
            LxdUnavailableError: LXD is not installed.
            ToolMissingError: Incus, which nothing needs unless somebody asks for it, is not.
        """
        found = shutil.which(self.program, path=":".join([tools.environment()["PATH"], *self.places]))
        if found is None:
            raise self.missing()
        return Path(found)


def _missing_lxd() -> ReleaseError:
    return LxdUnavailableError(
        "no LXD runs, and the program 'lxd' is not installed", hint="apt-get install lxd lxcfs btrfs-progs"
    )


def _missing_incus() -> ReleaseError:
    packages = "incus-base incus-client dnsmasq-base btrfs-progs"  # incus-base runs containers, and brings no qemu
    hint = f"apt-get install {packages}"
    if platform.freedesktop_os_release().get("VERSION_CODENAME") == "bookworm":
        suite = "bookworm-backports"
        source = f"deb [signed-by={KEYRING}] {Mirror.of_this_machine().archive} {suite} main"
        hint = f"echo '{source}' >/etc/apt/sources.list.d/backports.list && apt-get update\n  " + hint.replace(
            "install", f"install -t {suite}"
        )
    return ToolMissingError("no Incus runs, and the program 'incusd' is not installed", hint=hint)


_KINDS = {
    Server.LXD: Kind(
        title="LXD",
        program="lxd",
        home=Path("/var/lib/lxd"),
        usual=(Path("/var/snap/lxd/common/lxd"), Path("/var/lib/lxd")),
        variable="LXD_DIR",
        client="lxc",
        missing=_missing_lxd,
    ),
    Server.INCUS: Kind(
        title="Incus",
        program="incusd",
        places=("/usr/libexec/incus", "/opt/incus/bin"),  # Debian's, and that of Incus's own packages
        home=Path("/var/lib/incus"),
        usual=(Path("/var/lib/incus"),),
        variable="INCUS_DIR",
        client="incus",
        missing=_missing_incus,
    ),
}
