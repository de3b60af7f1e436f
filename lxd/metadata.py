"""The metadata half of a split image: metadata.yaml, and the templates LXD and Incus make a container's files from."""

import io
import lzma
import tarfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from common.files import write_atomically

TEMPLATES = Path(__file__).with_name("templates")
# Debian's word for an architecture -> the kernel's, which is LXD's.
LXD_ARCHES = {"amd64": "x86_64", "arm64": "aarch64", "armhf": "armv7l", "i386": "i686"}
# The file each template becomes in the container. Network configuration is one of them because there is no cloud-init.
_TARGETS = {
    "/etc/hostname": "hostname.tpl",
    "/etc/hosts": "hosts.tpl",
    "/etc/systemd/network/eth0.network": "eth0.network.tpl",
}


@dataclass(frozen=True, kw_only=True, order=True)
class ImageName:
    """Which image: Debian release, architecture (Debian's word) and image type."""

    release: str
    arch: str
    type: str

    @property
    def folder(self) -> Path:
        """Where it is below an `lxd/` of artifacts."""
        return Path(self.release, self.arch, self.type)

    @property
    def product(self) -> str:
        """Its name in a simplestreams index."""
        return f"debian:{self.release}:{self.arch}:{self.type}"

    def __str__(self) -> str:
        """`bookworm amd64 default`."""
        return f"{self.release} {self.arch} {self.type}"


def metadata_yaml(name: ImageName, *, milestone: int, created: int) -> str:
    """The text of metadata.yaml.

    Args:
        name: which image.
        milestone: of Chrome OS.
        created: seconds since 1970.
    """
    templates = {
        target: {"template": template, "when": ["create", "copy"]} for target, template in sorted(_TARGETS.items())
    }
    return yaml.safe_dump(
        {
            "architecture": LXD_ARCHES[name.arch],
            "creation_date": created,
            "properties": {
                "architecture": name.arch,
                "description": f"Debian {name.release} {name.arch} {name.type} for Chrome OS {milestone}",
                "milestone": str(milestone),
                "name": f"debian-{name.release}-{name.arch}-{name.type}",
                "os": "Debian",
                "release": name.release,
                "variant": name.type,
            },
            "templates": templates,
        },
        sort_keys=True,
        width=1000,
    )


def write_metadata(name: ImageName, folder: Path, *, milestone: int, created: int) -> None:
    """Write lxd.tar.xz and incus.tar.xz: the same bytes, as each client reads only the name it knows."""
    packed = lzma.compress(_tar(metadata_yaml(name, milestone=milestone, created=created), created))
    for client in ("lxd", "incus"):
        write_atomically(folder / f"{client}.tar.xz", packed)


def _tar(text: str, created: int) -> bytes:
    content = io.BytesIO()
    files = {f"templates/{name}": (TEMPLATES / name).read_bytes() for name in _TARGETS.values()}
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "metadata.yaml", text.encode(), created)
        _add(tar, "templates", None, created)
        for member, data in sorted(files.items()):
            _add(tar, member, data, created)
    return content.getvalue()


def _add(tar: tarfile.TarFile, member: str, data: bytes | None, created: int) -> None:
    """Add a file, or where there is no data a folder, owned by root."""
    info = tarfile.TarInfo(member)
    info.mtime = created
    info.mode, info.type = (0o755, tarfile.DIRTYPE) if data is None else (0o644, tarfile.REGTYPE)
    info.size = len(data or b"")
    tar.addfile(info, io.BytesIO(data or b""))
