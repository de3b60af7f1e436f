"""Root file systems in layers: a read-only squashfs, and over it directories (overlayfs) with what each changes."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from common import tools
from common.namespaces import contained, mounted

# The mount options' paths are relative, as overlayfs takes neither colons nor commas in them. What a layer holds has
# to be good as the layer below another one, and nobody needs it after a crash.
_OPTIONS = "index=off,metacopy=off,redirect_dir=off,volatile"
_BASE = "base"


@dataclass(frozen=True)
class Root:
    """A root file system that is mounted in the namespace of one process, and nowhere else.

    Attributes:
        pid: of the process.
        inside: where it is for a program in that namespace.
    """

    pid: int
    inside: Path

    @property
    def path(self) -> Path:
        """Where it is for us: the way through the kernel's link to the other namespace."""
        return Path(f"/proc/{self.pid}/root{self.inside}")


@dataclass
class Stack:
    """Layers that have been put upon each other, the lowest first."""

    pid: int
    place: Path
    layers: list[str] = field(default_factory=list)

    def base(self) -> Root:
        """The squashfs at the bottom."""
        return Root(self.pid, self.place / _BASE)

    def add(self, name: str) -> Root:
        """Mount a new, empty layer on top of those that are there; they are not to be written to any more.

        Raises:
            CommandError: it cannot be mounted.
        """
        for folder in ("upper", "work", "root"):
            (self.place / name / folder).mkdir(parents=True)
        lower = ":".join([*(f"{layer}/upper" for layer in reversed(self.layers)), _BASE])
        options = f"lowerdir={lower},upperdir={name}/upper,workdir={name}/work,{_OPTIONS}"
        script = 'cd "$1" && exec mount -t overlay overlay -o "$2" "$3/root"'
        tools.run(
            ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "--", "sh", "-c", script, "sh", self.place, options, name],
            quiet=True,
        )
        self.layers.append(name)
        return Root(self.pid, self.place / name / "root")

    def drop(self) -> None:
        """Take the uppermost layer away again, with all it holds."""
        name = self.layers.pop()
        script = 'umount "$1/root" && exec rm -rf "$1"'
        tools.run(contained(["sh", "-c", script, "sh", self.place / name], inside=self.pid), quiet=True)


@contextlib.contextmanager
def stacked(squashfs: Path, place: Path) -> Iterator[Stack]:
    """A stack on a squashfs; its mounts are gone afterwards, whichever way we end.

    Args:
        squashfs: the root file system at the bottom.
        place: an empty directory on a disk; the layers' content stays in it.

    Raises:
        CommandError: it is no squashfs, or this machine has no loop devices.
    """
    (place / _BASE).mkdir()
    script = 'mount -t squashfs -o ro,loop "$1" "$2"'
    with mounted(script, squashfs.resolve(), place.resolve() / _BASE, place=place) as pid:
        yield Stack(pid, place.resolve())
