"""Unpacking other people's tar files: inside one folder, with plain owners and modes, and the same twice."""

import contextlib
import lzma
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from common.errors import ArtifactError, DiskFullError, from_os_error

_HINT = "do not use this file; nothing of it was kept"
# What Python raises for bytes that are no tar file, or say impossible things (a time that is no number).
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError)


def unpack(archive: Path, target: Path, *, top: str, epoch: int, source: str = "") -> None:
    """Unpack the one folder of a tar file (compressed as Python can) as the new folder `target`.

    Owners, set-id bits, extended attributes and what others could write are left behind: folders and programs have the
    mode 0755, other files 0644. Python's own filters do the same, but not in the Python 3.11 that Debian 12 has.

    Args:
        archive: the tar file.
        target: a folder that does not exist yet.
        top: the folder in the archive that everything has to be in; its content becomes that of `target`.
        epoch: seconds since 1970; no file is newer.
        source: where the archive came from, for messages.

    Raises:
        ArtifactError: it is damaged, or something in it leads out of `top`, is twice there, or is a device.
        DiskFullError: no space left.
    """
    unpacking = _Unpacking(target, top, epoch, source or str(archive))
    target.mkdir(mode=0o755)
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, target, ignore_errors=True)
        try:
            with tarfile.open(archive, "r|*") as tar:
                for member in tar:
                    unpacking.add(tar, member)
        except (*_DAMAGED, OSError) as err:
            known = from_os_error(err) if isinstance(err, OSError) else None
            if isinstance(known, DiskFullError):
                raise known from err
            raise ArtifactError(f"{unpacking.source} cannot be unpacked: {err}", hint=_HINT) from err
        if not unpacking.times:
            raise ArtifactError(f"{unpacking.source} has no folder {top!r}", hint=_HINT)
        unpacking.set_times()
        undo.pop_all()


class _Unpacking:
    """What has been unpacked so far, by its path below `top`."""

    def __init__(self, target: Path, top: str, epoch: int, source: str) -> None:
        self.target, self.top, self.epoch, self.source = target, top, epoch, source
        self.links: set[PurePosixPath] = set()
        self.times: dict[Path, int] = {}  # of the folders, which change while files are added to them

    def add(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._below(member.name, member)
        place = self.target / path
        time = max(0, min(int(member.mtime), self.epoch))
        if path.parts:
            self._make_folders(place.parent)
        if member.isdir():
            self._make_folders(place)
            self.times[place] = time
            return
        if not path.parts or place.exists() or place.is_symlink():
            raise self._refused(member, "is there twice")
        if member.issym():
            self._check_target(path, member)
            place.symlink_to(member.linkname)
            self.links.add(path)
        elif member.islnk():
            linked = self.target / self._below(member.linkname, member)
            if linked.is_symlink() or not linked.is_file():
                raise self._refused(member, f"is a link to {member.linkname!r}, which is no file before it")
            place.hardlink_to(linked)
            return
        elif member.isreg():
            self._write(tar, member, place)
        else:
            raise self._refused(member, "is a device or a pipe")
        os.utime(place, (time, time), follow_symlinks=False)

    def set_times(self) -> None:
        """Give the folders their times, the innermost first."""
        for folder, time in sorted(self.times.items(), reverse=True):
            os.utime(folder, (time, time))

    def _below(self, name: str, member: tarfile.TarInfo) -> PurePosixPath:
        """A member's path below `top`. Whatever goes through a symlink is refused: it may lead anywhere."""
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.parts[:1] != (self.top,):
            raise self._refused(member, f"is outside of {self.top!r}")
        below = path.relative_to(self.top)
        if not self.links.isdisjoint(below.parents):
            raise self._refused(member, "is below a symlink")
        return below

    def _check_target(self, path: PurePosixPath, member: tarfile.TarInfo) -> None:
        depth = len(path.parent.parts)
        for part in PurePosixPath(member.linkname).parts:
            depth += -1 if part == ".." else 1
            if depth < 0 or part == "/":
                raise self._refused(member, f"is a symlink to {member.linkname!r}, outside of {self.top!r}")

    def _make_folders(self, folder: Path) -> None:
        for each in (*reversed(folder.relative_to(self.target).parents), folder.relative_to(self.target)):
            place = self.target / each
            if place not in self.times:
                place.mkdir(mode=0o755, exist_ok=place == self.target)
                place.chmod(0o755)
                self.times[place] = self.epoch

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
        content = tar.extractfile(member)
        assert content is not None
        with place.open("xb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
        place.chmod(0o755 if member.mode & 0o111 else 0o644)

    def _refused(self, member: tarfile.TarInfo, why: str) -> ArtifactError:
        return ArtifactError(f"{self.source} cannot be unpacked: {member.name!r} {why}", hint=_HINT)
