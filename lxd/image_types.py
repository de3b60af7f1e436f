"""The image types, each made on top of the one before: what every one of them adds."""

from collections.abc import Collection
from dataclasses import dataclass

from lxd import guest
from lxd.about import APP_TEST, DEFAULT_TYPE, TEST
from lxd.apps import App, load_apps

# What the Tast tests of Chrome OS run inside, and lxd/checks/programs.py tries.
_TEST = (
    "alsa-utils", "apitrace", "apitrace-tracers", "busybox", "fio", "gcc", "gir1.2-gtk-3.0", "iperf3", "iputils-ping",
    "libc6-dev", "libncurses-dev", "make", "mesa-utils", "python3-gi", "python3-gi-cairo", "python3-pyqt5",
    "python3-tk", "samba", "zstd",
)  # fmt: skip
_APP_TEST = ("default-jre", "emacs", "gedit")
# Debian has it in non-free; some mirrors leave that out.
_LMBENCH = "lmbench"
# In our own repository, from some milestones on.
_GLBENCH = "glbench"
_PRESEED = """\
samba-common samba-common/do_debconf boolean true
samba-common samba-common/workgroup string WORKGROUP
samba-common samba-common/dhcp boolean false
"""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What an image type adds to the one before.

    Attributes:
        type: its name.
        packages: what to install; what they depend on and recommend comes along.
        non_free: what to install from Debian's non-free, and nothing else is, where the mirror has that.
        preseed: answers for debconf, as debconf-set-selections reads them.
        apps: third-party applications, for the architecture that they are for.
    """

    type: str
    packages: tuple[str, ...]
    non_free: tuple[str, ...] = ()
    preseed: str = ""
    apps: tuple[App, ...] = ()


def layers(release: str, repository: Collection[tuple[str, str]]) -> tuple[Layer, ...]:
    """The layers of a release's images, the lowest first.

    Args:
        release: Debian's codename.
        repository: the (name, version) of the packages our own repository has.

    Raises:
        ConfigError: a third-party application is not pinned as it should be.
    """
    glbench = [name for name, _ in repository if name == _GLBENCH]
    return (
        Layer(type=DEFAULT_TYPE, packages=guest.packages(release)),
        Layer(type=TEST, packages=(*_TEST, *glbench), non_free=(_LMBENCH,), preseed=_PRESEED),
        Layer(type=APP_TEST, packages=_APP_TEST, apps=load_apps()),
    )
