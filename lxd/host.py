"""What the Chrome OS host gives a container: its programs (mocks of them), /dev/.ssh, fonts, a GPU, and a user."""

import shutil
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from common.errors import CheckFailedError
from lxd.container import Container

MOCKS = Path(__file__).with_name("mocks")
HOST_PROGRAMS = "/opt/google/cros-containers"
SFTP_PORT = 2222
USER = "testuser"
UID = 1000
GROUPS = ("audio", "cdrom", "dialout", "floppy", "plugdev", "sudo", "users", "video")
GROUPS_WHERE_THEY_EXIST = ("render",)
GPU = "/dev/dri/renderD128"
# A file in the fonts directory that the host shares.
FONT = "OfTheHost.ttf"
# Where the client's key is, for the check that fetches a file as the Files app does.
CLIENT_KEY = "/dev/.ssh/client_key"
_SSHD_CONFIG = f"""\
Port {SFTP_PORT}
HostKey /dev/.ssh/ssh_host_key
AuthorizedKeysFile /dev/.ssh/ssh_authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM yes
X11Forwarding no
AllowTcpForwarding no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
"""

Devices = dict[str, dict[str, str]]


def devices(place: Path, *, mocks: Path = MOCKS) -> Devices:
    """The LXD devices of a container as the host makes it, without a GPU.

    Args:
        place: an empty directory for what is mounted; to be kept as long as the container.
        mocks: the directory that stands for the host's programs.
    """
    ssh, programs, shared = place / "ssh", place / "cros-containers", place / "chromeos"
    _make_ssh(ssh)
    shutil.copytree(mocks, programs)
    (shared / "fonts").mkdir(parents=True)
    (shared / "fonts" / FONT).touch()
    # The container sees their owner as nobody, so everything has to be readable, whatever the checkout's modes are.
    # (LXD 5.0 cannot `shift` a mount on Linux 6.9 and later: lxc/incus#882.)
    for path in (path for top in (ssh, programs, shared) for path in (top, *top.rglob("*"))):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    return {
        "cros-containers": {"type": "disk", "source": str(programs), "path": HOST_PROGRAMS, "readonly": "true"},
        "ssh": {"type": "disk", "source": str(ssh), "path": "/dev/.ssh", "readonly": "true"},
        "chromeos": {"type": "disk", "source": str(shared), "path": "/mnt/chromeos", "readonly": "true"},
    }


def gpu_device() -> Devices:
    """The GPU's render node as the host gives it; that there is no such hardware here does not matter."""
    node = {"type": "unix-char", "source": GPU, "path": GPU, "major": "226", "minor": "128", "mode": "0666"}
    return {"gpu": node | {"required": "false"}}


def _make_ssh(place: Path) -> None:
    place.mkdir()
    host, client = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = client.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    (place / "sshd_config").write_text(_SSHD_CONFIG)
    (place / "ssh_authorized_keys").write_bytes(public + b"\n")
    for name, key in (("ssh_host_key", host), ("client_key", client)):
        (place / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


def make_user(container: Container) -> Container:
    """Make the user as the host does, lingering, so that a user manager starts; returns their view of the container."""
    known = {line.split(":")[0] for line in container.get(["getent", "group"]).splitlines()}
    missing = [group for group in GROUPS if group not in known]
    if missing:
        raise CheckFailedError(
            f"the image lacks the groups {', '.join(missing)}", hint="the host adds its user to them"
        )
    groups = [*GROUPS, *(group for group in GROUPS_WHERE_THEY_EXIST if group in known)]
    container.get(
        ["useradd", "--uid", str(UID), "--create-home", "--shell", "/bin/bash", "--groups", ",".join(groups), USER]
    )
    container.get(["loginctl", "enable-linger", USER])
    return container.as_user(UID)
