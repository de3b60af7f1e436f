"""The packages themselves: every path of the facts table, the same bytes twice, and nothing lintian dislikes."""

import os
import shutil
import time
from pathlib import Path

import pytest
from debian.deb822 import Deb822

from common import tools
from common.errors import ArtifactError, UsageError
from common.files import sha256_of, workspace
from common.mirror import Mirror, native_arch
from common.rootfs import Recipe, cached_tar
from debs import build
from debs.build import build_debs
from debs.keyring import dearmoured
from debs.releases import find_release
from debs.source import lay_out
from debs.version import version
from tests.debs.conftest import CACHE, EPOCH, R72, RELEASES, Built, releases
from tests.debs.paths import expected

BUILDS = [pytest.mark.root, pytest.mark.mirror, pytest.mark.timeout(900)]


def content_of(deb: Path) -> dict[str, str]:
    """Path (with its target if it is a link) -> mode, of everything but directories and documentation."""
    found = {}
    for line in tools.capture(["dpkg-deb", "--contents", deb]).splitlines():
        mode, _owner, _size, _day, _time, path = line.split(None, 5)
        path = path.removeprefix("./")
        if not mode.startswith("d") and not path.startswith(("usr/share/doc/", "usr/share/man/", "usr/share/lintian/")):
            found[path] = mode
    return found


def deb_of(directory: Path, package: str) -> Path:
    [deb] = directory.glob(f"{package}_*.deb")
    return deb


def unpack(tar: Path, root: Path) -> None:
    tools.run(["tar", "--extract", "--numeric-owner", "--file", tar, "--directory", root], quiet=True, timeout=300)


def run_in(root: Path, *argv: str, directory: str, user: int = 0) -> str:
    """Run a program in an unpacked root, without network; what it printed."""
    return tools.capture(
        [
            "unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--root", root, "--mount-proc",
            "--wd", directory, f"--setgid={user}", f"--setuid={user}", *argv,
        ],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent", "TMPDIR": "/tmp"}, timeout=600,
    )  # fmt: skip


class TestContent:
    """What is in the packages of each release."""

    pytestmark = BUILDS

    @pytest.mark.parametrize("release", releases("bookworm", "trixie"))
    def test_every_package_has_exactly_its_paths(self, release: str, built: Built) -> None:
        found = {deb.name.split("_")[0]: set(content_of(deb)) for deb in built(release).iterdir()}
        assert found == expected(release)

    @pytest.mark.parametrize("release", releases("bookworm", "trixie"))
    def test_modes(self, release: str, built: Built) -> None:
        for deb in built(release).iterdir():
            for path, mode in content_of(deb).items():
                if mode.startswith("l"):
                    continue
                wanted = "-rw-r--r--"
                if path.startswith(("usr/bin/", "usr/libexec/")):
                    wanted = "-rwxr-xr-x"
                elif path.startswith("etc/sudoers.d/"):
                    wanted = "-r--r-----"
                assert mode == wanted, path

    @pytest.mark.parametrize("release", releases("bookworm", "trixie"))
    def test_files_in_etc_are_conffiles(self, release: str, built: Built) -> None:
        for deb in built(release).iterdir():
            listed = tools.capture(["dpkg-deb", "--info", deb, "conffiles"], ok=(0, 2)).split()
            etc = [f"/{path}" for path, mode in content_of(deb).items() if path.startswith("etc/") and mode[0] == "-"]
            assert sorted(listed) == sorted(etc)

    @pytest.mark.parametrize("release", releases("bookworm", "trixie"))
    def test_fields(self, release: str, built: Built) -> None:
        for deb in built(release).iterdir():
            fields = Deb822(tools.capture(["dpkg-deb", "--field", deb]))
            assert fields["Version"] == version(R72(), EPOCH, release)
            assert fields["Architecture"] == "all"
            assert fields["Section"] == ("x11" if fields["Package"] == "cros-wayland" else "misc")
            assert fields["Multi-Arch"] == "foreign"

    @pytest.mark.parametrize(
        ("release", "sound", "fuse"),
        [
            ("bullseye", "cros-pulse-config", "fuse"),
            ("bookworm", "cros-pipe-config", "fuse3"),
            ("trixie", "cros-pipe-config", "fuse3"),
        ],
    )
    def test_the_metapackage(self, release: str, sound: str, fuse: str, built: Built) -> None:
        fields = Deb822(tools.capture(["dpkg-deb", "--field", deb_of(built(release), "cros-guest-tools")]))
        assert fields["Depends"].split(", ") == [
            "cros-garcon", "cros-host-fonts", "cros-motd", "cros-notificationd", "cros-sftp", "cros-sommelier",
            "cros-ui-config",
        ]  # fmt: skip
        assert fields["Recommends"].split(", ") == [
            "bash-completion", "bzip2", "cros-apt-config", "cros-gpu", "cros-logging", sound, "cros-sommelier-config",
            "cros-sudo-config", "cros-systemd-overrides", "cros-vmstat-metrics", "cros-wayland", "curl",
            "dbus-user-session", "dbus-x11", "file", fuse, "git", "gnupg", "iputils-ping", "iptables", "less",
            "libxss1", "man-db", "udev", "unzip", "usbutils", "vim", "wget", "xz-utils",
        ]  # fmt: skip

    @pytest.mark.parametrize("release", releases("bookworm", "trixie"))
    def test_mesa_is_pinned_where_the_release_has_one(self, release: str, built: Built) -> None:
        fields = Deb822(tools.capture(["dpkg-deb", "--field", deb_of(built(release), "cros-gpu")]))
        assert ("libgl1-mesa-dri" in fields.get("Depends", "")) == (release != "bullseye")


class TestBuild:
    """How they are built."""

    pytestmark = BUILDS

    @pytest.mark.parametrize("release", releases("bookworm", "trixie"))
    def test_two_builds_are_bit_for_bit_the_same(
        self, release: str, built: Built, keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = {deb.name: sha256_of(deb) for deb in built(release).iterdir()}
        cache = tmp_path / "another cache, with spaces"
        cache.mkdir()
        (cache / "rootfs").symlink_to(CACHE / "rootfs")
        elsewhere = tmp_path / "cros-archive-keyring.asc"
        shutil.copy(keyring, elsewhere)
        monkeypatch.setenv("TZ", "Pacific/Kiritimati")
        monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
        monkeypatch.setenv("USER", "somebody")
        before = os.umask(0o077)
        try:
            debs = build_debs(
                release, version=version(R72(), EPOCH, release), epoch=EPOCH, keyring=elsewhere,
                out=tmp_path / "out", cache=cache,
            )  # fmt: skip
        finally:
            os.umask(before)
        assert {deb.name: sha256_of(deb) for deb in debs} == first

    @pytest.mark.packages
    @pytest.mark.parametrize("release", RELEASES)
    def test_others_get_the_same_bits_by_hand(self, release: str, built: Built, keyring: Path) -> None:
        """Another directory, user, umask, time zone, locale and year, and files of other times."""
        recipe = Recipe(
            release=release, arch=native_arch(), variant="buildd", include=("debhelper", "faketime"),
            source_date_epoch=EPOCH,
        )  # fmt: skip
        tar = cached_tar(recipe, CACHE / "rootfs", mirror=Mirror.of_this_machine())
        with workspace("by-hand") as root:
            unpack(tar, root)
            tree = root / "srv" / "by-hand" / "a-checkout"
            tree.parent.mkdir()
            lay_out(
                find_release(release), tree, version=version(R72(), EPOCH, release), epoch=EPOCH,
                keys=dearmoured(keyring),
            )  # fmt: skip
            for number, path in enumerate([tree.parent, tree, *tree.rglob("*")]):
                os.chown(path, 4321, 4321, follow_symlinks=False)
                os.utime(path, (EPOCH + number, EPOCH + number), follow_symlinks=False)
            script = """umask 077
export TZ=Pacific/Kiritimati LC_ALL=C LANG=tr_TR.UTF-8 USER=somebody FAKETIME=+1500d
LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1) exec dpkg-buildpackage --build=all --no-sign"""
            run_in(root, "sh", "-euc", script, user=4321, directory="/srv/by-hand/a-checkout")
            found = {deb.name: sha256_of(deb) for deb in tree.parent.glob("*.deb")}
        assert found == {deb.name: sha256_of(deb) for deb in built(release).iterdir()}

    def test_a_build_that_changes_nothing_runs_nothing(
        self, built: Built, keyring: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = built("bookworm")
        monkeypatch.setattr(build, "_build", None)
        debs = build_debs(
            "bookworm", version=version(R72(), EPOCH, "bookworm"), epoch=EPOCH, keyring=keyring,
            out=tmp_path, cache=CACHE,
        )  # fmt: skip
        assert [deb.name for deb in debs] == sorted(deb.name for deb in first.iterdir())
        assert sorted(path.name for path in tmp_path.iterdir()) == [deb.name for deb in debs]

    @pytest.mark.parametrize("release", releases("bookworm", "trixie"))
    def test_lintian_has_nothing_to_say(self, release: str, built: Built) -> None:
        recipe = Recipe(
            release=release, arch=native_arch(), variant="minbase", include=("lintian",), source_date_epoch=EPOCH
        )  # fmt: skip
        tar = cached_tar(recipe, CACHE / "rootfs", mirror=Mirror.of_this_machine())
        with workspace("lintian") as root:
            unpack(tar, root)
            shutil.copytree(built(release), root / "in")
            now = int(time.time())  # no older than the policy
            lay_out(
                find_release(release), root / "in" / "source", version=version(R72(), now, release), epoch=now, keys=b""
            )
            lint = """dpkg-source --build source >/dev/null
exec lintian --pedantic --no-cfg --allow-root --tag-display-limit 0 --fail-on none *.dsc *.deb"""
            said = run_in(root, "sh", "-euc", lint, directory="/in")
        assert [line for line in said.splitlines() if line[:3] in ("E: ", "W: ", "P: ")] == []


def test_an_unknown_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown release 'sid'"):
        build_debs("sid", version="1", epoch=0, keyring=tmp_path, out=tmp_path / "out", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_keyring_nothing_is_built(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        build_debs(
            "bookworm", version="1", epoch=0, keyring=tmp_path / "none", out=tmp_path / "out", cache=tmp_path / "cache"
        )
    assert list(tmp_path.iterdir()) == []
