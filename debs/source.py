"""Lays out the Debian source package of one release: files, debian/control and debian/changelog."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from common.errors import ConfigError
from debs.releases import DEBS, Release

NAME = "cros-guest-tools"
MAINTAINER = "The ChromiumOS Authors <chromium-os-dev@chromium.org>"
KEYRING = "cros-apt-config/usr/share/keyrings/cros-archive-keyring.gpg"
_SUBSTVAR = re.compile(r"\$\{cros:([a-z]+)\}")


def lay_out(release: Release, tree: Path, *, version: str, epoch: int, keys: bytes) -> None:
    """Make the source package.

    Args:
        release: its row of the table.
        tree: where; must not exist.
        version: of all packages.
        epoch: seconds; the date of the changelog and of every file.
        keys: the keyring that cros-apt-config ships, not armoured.

    Raises:
        ConfigError: the table names a variant, package or substvar that is not there.
    """
    files = tree / "files"
    for folder in ("files", "debian"):
        shutil.copytree(DEBS / folder, tree / folder, symlinks=True)
    for variant in release.variants:
        if not (DEBS / "variants" / variant).is_dir():
            raise ConfigError(f"releases.toml: [{release.codename}]: there is no debs/variants/{variant}")
        for part in sorted((DEBS / "variants" / variant).iterdir()):
            target = tree / "debian" if part.name == "debian" else files / part.name
            shutil.copytree(part, target, symlinks=True, dirs_exist_ok=True)
    keyring = files / KEYRING
    keyring.parent.mkdir(parents=True, exist_ok=True)
    keyring.write_bytes(keys)
    _fill_in(files, release)
    _move(files, release)
    for package in release.without:
        shutil.rmtree(files / package, ignore_errors=True)
    control = (DEBS / "debian" / "control").read_text()
    (tree / "debian" / "control").write_text(control_of(release, control))
    (tree / "debian" / "changelog").write_text(changelog_of(release, version=version, epoch=epoch))
    _settle(tree, epoch)


def control_of(release: Release, control: str) -> str:
    """debian/control for one release: without the packages it does not have, its substvars filled in."""
    sections = control.rstrip("\n").split("\n\n")
    names = [re.match(r"Package: (\S+)$", section, re.MULTILINE) for section in sections]
    known = {name.group(1) for name in names if name}
    for package in release.without:
        if package not in known:
            raise ConfigError(
                f"releases.toml: [{release.codename}]: without {package!r}, which debian/control does not have"
            )
    kept = [
        section
        for section, name in zip(sections, names, strict=True)
        if not name or name.group(1) not in release.without
    ]
    values = dict(release.substvars)

    def value_of(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in values:
            raise ConfigError(
                f"releases.toml: [{release.codename}.substvars] has no {name!r}, which debian/control asks for"
            )
        return values[name]

    filled = _SUBSTVAR.sub(value_of, "\n\n".join(kept) + "\n")
    # A variable that is empty leaves a line with only a comma, which dpkg does not like in a field.
    return re.sub(r"^ ,\n", "", filled, flags=re.MULTILINE)


def changelog_of(release: Release, *, version: str, epoch: int) -> str:
    """debian/changelog with the one entry of this build."""
    date = format_datetime(datetime.fromtimestamp(epoch, UTC))
    return (
        f"{NAME} ({version}) {release.codename}; urgency=medium\n\n"
        f"  * Built from the commit of {date}.\n\n"
        f" -- {MAINTAINER}  {date}\n"
    )


def digest_of(tree: Path) -> str:
    """One SHA-256 over every path, mode, link and content of a source package."""
    total = hashlib.sha256()
    for path in _walk(tree):
        content = b""
        if path.is_symlink():
            content = str(path.readlink()).encode()
        elif path.is_file():
            content = path.read_bytes()
        line = f"{path.relative_to(tree)}\0{path.lstat().st_mode:o}\0{len(content)}\0"
        total.update(line.encode() + content)
    return total.hexdigest()


def _fill_in(files: Path, release: Release) -> None:
    """NAME.in becomes NAME, with the release's codename in it."""
    for template in sorted(files.rglob("*.in")):
        template.with_suffix("").write_text(template.read_text().replace("@CODENAME@", release.codename))
        template.unlink()


def _move(files: Path, release: Release) -> None:
    for package in sorted(files.iterdir()):
        for source, target in release.moves:
            if (package / source).is_dir():
                (package / target).parent.mkdir(parents=True, exist_ok=True)
                (package / source).rename(package / target)
                emptied = (package / source).parent
                while emptied != package and not any(emptied.iterdir()):
                    emptied.rmdir()
                    emptied = emptied.parent


def _settle(tree: Path, epoch: int) -> None:
    """Modes and times that depend neither on the umask of the checkout nor on its time."""
    for path in [tree, *_walk(tree)]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _walk(tree: Path) -> Iterator[Path]:
    for directory, subdirectories, names in os.walk(tree):
        subdirectories.sort()
        for name in sorted([*subdirectories, *names]):
            yield Path(directory, name)
