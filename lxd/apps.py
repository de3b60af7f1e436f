"""The third-party applications of the app_test image: apps.toml, fetched by digest and unpacked into its root."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from common.errors import ArtifactError, ConfigError, NetworkError
from common.fetch import fetch
from common.files import workspace, write_atomically
from common.progress import step
from common.settings import Table
from common.unpacking import unpack

APPS_TOML = Path(__file__).with_name("apps.toml")
ARCH = "amd64"
_KEYS = ("name", "version", "url", "sha256", "top", "folder", "program", "icon", "links")
_SHA256 = re.compile("[0-9a-f]{64}")
_HINT = "see the comments of lxd/apps.toml"
_HINT_WITHOUT = "docs/images.md says how app_test is built without it, or where the network does not reach it"


@dataclass(frozen=True, kw_only=True)
class App:
    """An application: see the comments of apps.toml; `key` is its table's name."""

    key: str
    name: str
    version: str
    url: str
    sha256: str
    top: str
    folder: PurePosixPath
    program: PurePosixPath
    icon: PurePosixPath
    links: Mapping[PurePosixPath, PurePosixPath]

    def desktop_file(self) -> str:
        """The text of its entry for the launcher."""
        return (
            "[Desktop Entry]\n"
            "Type=Application\n"
            f"Name={self.name}\n"
            f"Exec={self.folder / self.program} %F\n"
            f"Icon={self.folder / self.icon}\n"
            "Terminal=false\n"
            "Categories=Development;IDE;\n"
        )


@dataclass(frozen=True)
class FetchedApp:
    """An application and its archive, whose digest is the pinned one."""

    app: App
    archive: Path


def load_apps(path: Path = APPS_TOML) -> tuple[App, ...]:
    """Read an apps.toml.

    Raises:
        ConfigError: naming the application and the key that is missing, unknown or makes no sense.
    """
    top = Table.of_file(path)
    return tuple(_app(key, top.table(key)) for key in top.keys())  # noqa: SIM118, not a dict


def fetch_apps(arch: str, cache: Path, *, apps: Sequence[App] | None = None) -> tuple[FetchedApp, ...]:
    """The applications of an architecture, each from the cache or its publisher; none but on amd64.

    Args:
        arch: Debian's word.
        cache: see `common.fetch.fetch`.
        apps: instead of those of apps.toml.

    Raises:
        ConfigError: a pin is missing.
        ArtifactError: a publisher has another file than was pinned.
        NetworkError, DeadlineError, DiskFullError: it cannot be fetched.
    """
    if arch != ARCH:
        return ()
    fetched = []
    for app in load_apps() if apps is None else apps:
        with step(f"Fetch {app.name} {app.version}"):
            fetched.append(_fetched(app, cache))
    return tuple(fetched)


def _fetched(app: App, cache: Path) -> FetchedApp:
    try:
        return FetchedApp(app, fetch(app.url, sha256=app.sha256, cache=cache))
    except (NetworkError, ArtifactError) as err:
        what = f"the pin [{app.key}] of lxd/apps.toml: {err.what}"
        raise type(err)(what, details=err.details, hint=f"{err.hint}\n{_HINT_WITHOUT}") from err


def install_apps(apps: Sequence[FetchedApp], root: Path, *, epoch: int) -> None:
    """Unpack applications into the root file system of an image, with their links and desktop files.

    All is root's, with the modes 0755 and 0644 and nothing setuid; the same archives give the same files.

    Args:
        apps: what to install.
        root: the image's root directory.
        epoch: seconds since 1970; no file is newer.

    Raises:
        ArtifactError: an archive that is damaged, leads outside of its folder, or lacks the program or the icon.
        DiskFullError: no space left.
    """
    for fetched in apps:
        with step(f"Unpack {fetched.app.name}"):
            _install(fetched, root, epoch)


def _app(key: str, table: Table) -> App:
    table.refuse_unknown(_KEYS)
    url, sha256 = table.text("url"), table.text("sha256")
    if not url.startswith("https://"):
        raise ConfigError(f"{table.where}: url {url!r} is not https", hint=_HINT)
    if not _SHA256.fullmatch(sha256):
        raise ConfigError(f"{table.where}: sha256 {sha256!r} is not 64 hex digits", hint=_HINT)
    links = table.table("links")
    return App(
        key=key,
        name=table.text("name"),
        version=table.text("version"),
        url=url,
        sha256=sha256,
        top=_path(table, "top", table.text("top"), absolute=False).as_posix(),
        folder=_path(table, "folder", table.text("folder"), absolute=True),
        program=_path(table, "program", table.text("program"), absolute=False),
        icon=_path(table, "icon", table.text("icon"), absolute=False),
        links={
            _path(links, "link", link, absolute=True): _path(links, link, links.text(link), absolute=False)
            for link in links.keys()  # noqa: SIM118, not a dict
        },
    )


def _path(table: Table, key: str, text: str, *, absolute: bool) -> PurePosixPath:
    path = PurePosixPath(text)
    if path.is_absolute() != absolute or ".." in path.parts or not text.isprintable():
        kind = "an absolute path" if absolute else "a relative path"
        raise ConfigError(f"{table.where}: {key} {text!r} is not {kind} without '..'", hint=_HINT)
    return path


def _desktop(app: App) -> PurePosixPath:
    return PurePosixPath("/usr/share/applications", f"{app.key}.desktop")


def _install(fetched: FetchedApp, root: Path, epoch: int) -> None:
    app = fetched.app
    folder = _new(root, app.folder)
    with workspace(".app", parent=folder.parent) as place:
        unpack(fetched.archive, place / "app", top=app.top, epoch=epoch, source=app.url)
        _check(app, place / "app")
        (place / "app").rename(folder)
    for link, target in app.links.items():
        place_of_link = _new(root, link)
        place_of_link.symlink_to(app.folder / target)
        os.utime(place_of_link, (epoch, epoch), follow_symlinks=False)
    desktop = _new(root, _desktop(app))
    write_atomically(desktop, app.desktop_file())
    os.utime(desktop, (epoch, epoch))
    for path in (app.folder, *app.links, _desktop(app)):
        for parent in path.parents:
            os.utime(root / parent.relative_to("/"), (epoch, epoch))


def _new(root: Path, path: PurePosixPath) -> Path:
    """Where a path of the image is in `root`, with the folder it goes to; refused where the image has something."""
    place = root / path.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.parent.resolve().is_relative_to(root.resolve()):
        raise ArtifactError(f"{str(path)!r} leads out of the image: a folder above it is a symlink", hint=_HINT)
    if place.exists() or place.is_symlink():
        raise ArtifactError(f"the image has a {str(path)!r} already", hint=_HINT)
    return place


def _check(app: App, folder: Path) -> None:
    """Whether what was unpacked is what apps.toml describes."""
    for what, path, bits in (("program", app.program, 0o111), ("icon", app.icon, 0o444)):
        if not (folder / path).is_file() or not (folder / path).stat().st_mode & bits:
            raise ArtifactError(
                f"{app.url} has no {what} {PurePosixPath(app.top, path).as_posix()!r}",
                hint=f"correct {what!r} of [{app.key}] in lxd/apps.toml",
            )
