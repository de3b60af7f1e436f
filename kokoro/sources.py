"""The files a build is made from: which they are, their digest, their time, and a copy of them for its job."""

import functools
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from common import tools
from common.errors import ConfigError
from kokoro import ant


class Tree:
    """A git checkout: its tracked files, and those not tracked and not ignored, as they are on disk now."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = root

    def freeze(self, place: Path, paths: Sequence[str]) -> None:
        """Copy these files to `place`, and read from there: an edit or commit from now on is for the next run."""
        _ = self._changed, self._head  # asked of git now
        self.copy(paths, place)
        self._files = place

    @functools.cached_property
    def paths(self) -> tuple[str, ...]:
        """Every file, relative to the checkout, sorted. ConfigError: it is no git checkout."""
        if not (self.root / ".git").exists():
            raise ConfigError(
                f"{str(self.root)!r} is not a git checkout",
                hint="git clone the project; git tells what a build is made from",
            )
        listed = self._git("ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "-z")
        # A repository inside the checkout is listed as a directory: it is no source of ours.
        return tuple(sorted(path for path in listed.split("\0") if path and self._is_file(path)))

    def _is_file(self, path: str) -> bool:
        return (self.root / path).is_symlink() or (self.root / path).is_file()

    @functools.cached_property
    def _changed(self) -> frozenset[str]:
        """What differs from the commit, or is in none."""
        words = self._git("status", "--porcelain=v1", "--untracked-files=all", "--no-renames", "-z").split("\0")
        return frozenset(word[3:] for word in words if word)

    @functools.cached_property
    def _head(self) -> str:
        return self._git("rev-parse", "--verify", "--quiet", "HEAD", ok=(0, 1)).strip()

    def commit(self) -> str:
        """The commit checked out, "" before the first one."""
        return self._head

    def shallow(self) -> bool:
        """Whether git does not have all of the history."""
        return self._git("rev-parse", "--is-shallow-repository").strip() == "true"

    def select(self, globs: Sequence[str]) -> tuple[str, ...]:
        """The files that match one of the globs (Ant's)."""
        return tuple(path for path in self.paths if any(ant.matches(glob, path) for glob in globs))

    def digest(self, paths: Sequence[str]) -> str:
        """One SHA-256 over the names, modes and contents of these files."""
        digest = hashlib.sha256()
        for path in paths:
            digest.update(f"{path}\0{self._content_digest(path)}\n".encode())
        return digest.hexdigest()

    @functools.cache  # noqa: B019, a tree lives as long as the command
    def _content_digest(self, path: str) -> str:
        file = self._files / path
        if file.is_symlink():
            return f"-> {file.readlink()}"
        executable = os.access(file, os.X_OK)
        return f"{'x' if executable else '-'} {hashlib.sha256(file.read_bytes()).hexdigest()}"

    def epoch(self, paths: Sequence[str]) -> int:
        """The time of these files for SOURCE_DATE_EPOCH: of the last commit that touched one of them.

        With changes that are not committed it is the newest of these: a rebuilt package has to have a higher version
        than the one that was built, and perhaps published, before the edit.
        """
        changed = [(self._files / path).lstat().st_mtime for path in paths if path in self._changed]
        if changed:
            return int(max(changed))
        if not self._head:
            return 0
        return int(self._git("log", "-1", "--format=%ct", self._head, "--", *paths) or 0)

    def copy(self, paths: Sequence[str], target: Path) -> None:
        """Copy these files below `target`, times and modes kept; group and others may read, nobody else write."""
        for path in paths:
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._files / path, place, follow_symlinks=False)
            if not place.is_symlink():
                place.chmod(0o755 if os.access(place, os.X_OK) else 0o644)

    def _git(self, *arguments: str, ok: Sequence[int] = (0,)) -> str:
        # A checkout that belongs to somebody else is still the one we were asked to build.
        return tools.capture(["git", "-c", f"safe.directory={self.root}", "-C", self.root, *arguments], ok=ok)
