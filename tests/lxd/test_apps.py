"""The third-party applications: their pins, their installation, and what stops a build."""

import hashlib
import io
import json
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import tools
from common.errors import ArtifactError, ConfigError, NetworkError
from common.files import write_atomically
from common.serve import serving
from lxd.apps import APPS_TOML, App, FetchedApp, fetch_apps, install_apps, load_apps

EPOCH = 1_700_000_000


def archive_of(app: App, *, program_mode: int = 0o755, leave_out: str = "") -> bytes:
    """An archive as the application's publisher could have it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for path, mode in {app.program: program_mode, app.icon: 0o644}.items():
            if path.as_posix() != leave_out:
                info = tarfile.TarInfo(f"{app.top}/{path}")
                info.mode, info.size = mode, 4
                tar.addfile(info, io.BytesIO(b"text"))
    return content.getvalue()


def fetched(app: App, place: Path, content: bytes) -> FetchedApp:
    archive = place / f"{app.key}.tar.gz"
    archive.write_bytes(content)
    return FetchedApp(app, archive)


@pytest.fixture
def code() -> App:
    [app] = [app for app in load_apps() if app.key == "code"]
    return app


def test_the_pins_are_complete_and_say_where_they_come_from() -> None:
    apps = load_apps()
    assert [app.key for app in apps] == ["android-studio", "eclipse", "code"]
    assert all(app.version in app.url for app in apps)
    assert len({app.sha256 for app in apps}) == len(apps)


def test_tast_finds_each_by_the_name_it_uses() -> None:
    started = {str(link): str(app.folder / target) for app in load_apps() for link, target in app.links.items()}
    assert started["/android-studio"] == "/opt/android-studio"
    assert started["/usr/local/bin/eclipse"] == "/opt/eclipse/eclipse"
    assert started["/usr/local/bin/code"] == "/opt/code/bin/code"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("sha256 = ", "sha265 = ", r"unknown key 'sha265'"),
        ('sha256 = "5d', 'sha256 = "5D', r"sha256 '5D.*' is not 64 hex digits"),
        ("https://update", "http://update", r"url 'http://update.*' is not https"),
        ('folder = "/opt/code"', 'folder = "opt/code"', r"folder 'opt/code' is not an absolute path"),
        ('program = "bin/code"', 'program = "../code"', r"program '\.\./code' is not a relative path"),
        ('"/usr/local/bin/code" = "bin/code"', '"code" = "bin/code"', r"link 'code' is not an absolute path"),
    ],
)
def test_a_pin_that_makes_no_sense_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    before, table, after = APPS_TOML.read_text().partition("\n[code]")
    path = tmp_path / "apps.toml"
    path.write_text(before + table + after.replace(old, new, 1))
    with pytest.raises(ConfigError, match=rf"^apps\.toml code.*: {said}"):
        load_apps(path)


def test_a_missing_pin_is_named(tmp_path: Path) -> None:
    path = tmp_path / "apps.toml"
    path.write_text("\n".join(line for line in APPS_TOML.read_text().splitlines() if not line.startswith("sha256")))
    with pytest.raises(ConfigError, match=r"apps\.toml android-studio: 'sha256' is missing"):
        load_apps(path)


VALUES = st.sampled_from(["", "x", "/x", "../x", "https://x", "a" * 64, "x\ty"]) | st.integers(0, 1) | st.just(())
KEYS = st.sampled_from(["name", "version", "url", "sha256", "top", "folder", "program", "icon", "links", "more"])


@given(st.dictionaries(KEYS, VALUES))
def test_any_table_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, str | int | tuple[()]]
) -> None:
    path = tmp_path_factory.mktemp("x") / "apps.toml"
    path.write_text("[code]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in content.items()))
    try:
        [app] = load_apps(path)
    except ConfigError:
        return
    assert app.url.startswith("https://")
    assert app.folder.is_absolute()
    assert not app.program.is_absolute()


def test_installed_it_has_its_program_link_and_launcher(code: App, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/local/bin").mkdir(parents=True)
    apps = [fetched(app, tmp_path, archive_of(app, program_mode=0o4777)) for app in load_apps()]
    install_apps(apps, root, epoch=EPOCH)
    assert (root / "opt/code/bin/code").read_text() == "text"
    assert stat.S_IMODE((root / "opt/code/bin/code").stat().st_mode) == 0o755
    assert str((root / "usr/local/bin/code").readlink()) == "/opt/code/bin/code"
    assert str((root / "android-studio").readlink()) == "/opt/android-studio"
    entries = sorted((root / "usr/share/applications").iterdir())
    assert [entry.name for entry in entries] == ["android-studio.desktop", "code.desktop", "eclipse.desktop"]
    tools.run(["desktop-file-validate", *entries])
    assert {path.lstat().st_mtime for path in [root, *root.rglob("*")]} <= {0, EPOCH}


def test_the_same_archive_gives_the_same_files(code: App, tmp_path: Path) -> None:
    listed = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        install_apps([fetched(code, tmp_path, archive_of(code))], root, epoch=EPOCH)
        listed.append(tools.capture(["find", root, "-printf", "%P %m %U %T@ %s %l\n"]).splitlines())
    # Where an inode of a folder takes another size by chance, that is the file system's affair.
    assert sorted(listed[0]) == sorted(listed[1])


@pytest.mark.parametrize("what", ["program", "icon"])
def test_an_archive_without_the_program_or_the_icon_is_refused(code: App, tmp_path: Path, what: str) -> None:
    gone = {"program": code.program, "icon": code.icon}[what].as_posix()
    with pytest.raises(ArtifactError, match=f"has no {what} 'VSCode-linux-x64/{gone}'"):
        install_apps([fetched(code, tmp_path, archive_of(code, leave_out=gone))], tmp_path, epoch=EPOCH)
    assert not (tmp_path / "opt/code").exists()
    assert list((tmp_path / "opt").iterdir()) == []


def test_a_program_that_cannot_be_run_is_refused(code: App, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="has no program"):
        install_apps([fetched(code, tmp_path, archive_of(code, program_mode=0o644))], tmp_path, epoch=EPOCH)


def test_an_image_that_has_the_place_taken_is_refused(code: App, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "opt/code").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="the image has a '/opt/code' already"):
        install_apps([fetched(code, tmp_path, archive_of(code))], root, epoch=EPOCH)


def test_a_link_in_the_image_does_not_lead_out_of_it(code: App, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "opt").symlink_to(outside)
    with pytest.raises(ArtifactError, match="'/opt/code' leads out of the image"):
        install_apps([fetched(code, tmp_path, archive_of(code))], root, epoch=EPOCH)
    assert list(outside.iterdir()) == []


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    with serving(tmp_path / "www", state=tmp_path / "state") as urls:
        yield urls.http


def pinned(app: App, url: str, content: bytes) -> App:
    return replace(app, url=url, sha256=hashlib.sha256(content).hexdigest(), links={PurePosixPath("/x"): app.program})


def test_fetched_from_a_server_and_then_from_the_cache(code: App, served: str, tmp_path: Path) -> None:
    content = archive_of(code)
    (tmp_path / "www/code.tar.gz").write_bytes(content)
    app = pinned(code, f"{served}/code.tar.gz", content)
    [first] = fetch_apps("amd64", tmp_path / "cache", apps=[app])
    (tmp_path / "www/code.tar.gz").unlink()
    [second] = fetch_apps("amd64", tmp_path / "cache", apps=[app])
    assert first == second
    assert first.archive.read_bytes() == content


def test_another_file_than_was_pinned_stops_it(code: App, served: str, tmp_path: Path) -> None:
    (tmp_path / "www/code.tar.gz").write_bytes(b"something else")
    app = pinned(code, f"{served}/code.tar.gz", archive_of(code))
    said = r"^the pin \[code\] of lxd/apps\.toml: http\S+/code\.tar\.gz is not the file that was pinned"
    with pytest.raises(ArtifactError, match=said):
        fetch_apps("amd64", tmp_path / "cache", apps=[app])


def test_a_publisher_that_cannot_be_reached_stops_it(code: App, served: str, tmp_path: Path) -> None:
    app = pinned(code, f"{served}/code.tar.gz", archive_of(code))
    said = r"^the pin \[code\] of lxd/apps\.toml: http\S+/code\.tar\.gz could not be fetched: .* 404 "
    with pytest.raises(NetworkError, match=said) as caught:
        fetch_apps("amd64", tmp_path / "cache", apps=[app])
    assert "docs/images.md" in caught.value.hint


def test_a_file_that_somebody_brought_is_not_fetched(code: App, tmp_path: Path) -> None:
    content = archive_of(code)
    app = pinned(code, "https://nowhere.invalid/code.tar.gz", content)
    write_atomically(tmp_path / app.sha256, content)
    [fetched] = fetch_apps("amd64", tmp_path, apps=[app])
    assert fetched.archive.read_bytes() == content


def test_there_may_be_none(tmp_path: Path) -> None:
    (tmp_path / "apps.toml").touch()
    assert load_apps(tmp_path / "apps.toml") == ()


@pytest.mark.parametrize("arch", ["arm64", "armhf", "i386"])
def test_only_amd64_has_them(arch: str, tmp_path: Path) -> None:
    assert fetch_apps(arch, tmp_path) == ()
