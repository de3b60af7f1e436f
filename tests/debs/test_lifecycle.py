"""The packages come, are replaced and go in a root of each release without systemd running, and leave it as it was."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from common import tools
from common.aptrepo import KEYRING
from common.errors import CommandError
from common.files import sha256_of
from common.mirror import Mirror
from common.rootfs import cached_tar
from debs.build import build_debs
from debs.keyring import dearmoured
from debs.version import version
from tests.common.aptparts import signed
from tests.debs.broken import failing
from tests.debs.conftest import CACHE, EPOCH, Built, releases
from tests.debs.guests import Kind, differences, recipe_for
from tests.debs.originals import ORIGINALS, make

pytestmark = [pytest.mark.root, pytest.mark.mirror, pytest.mark.timeout(1200)]

HOST = "opt/google/cros-containers"
# Made by the first dpkg that starts with our hook in place.
TRIGGER = "usr/share/applications/.garcon_trigger"
# What dpkg, apt and the caches of others write for themselves.
_NOT_OURS = re.compile(r"(in|proc|sys|dev|tmp|run|root|var/(cache|tmp|lib/(dpkg|apt|ucf)|log/[a-z]+))(/|\.|$)")


class R73:
    """The numbers of release-R73-11647.B."""

    milestone = 73
    build = 11647


class Root:
    """A root file system with everything our packages depend on, and none of them."""

    def __init__(self, path: Path, debs: Path, release: str) -> None:
        self.path, self.release = path, release
        self.names = [deb.name.split("_")[0] for deb in sorted(debs.iterdir())]
        self.names.remove("cros-gpu-alpha")  # it conflicts with cros-gpu
        shutil.copytree(debs, path / "in")

    def run(self, *argv: str) -> str:
        """Run a program in the root, without network."""
        return tools.capture(
            [
                "unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--root", self.path, "--mount-proc",
                "--wd", "/", *argv,
            ],
            timeout=300,
        )  # fmt: skip

    def dpkg(self, *argv: str) -> None:
        """Run dpkg, which keeps files that somebody has edited."""
        self.run("dpkg", "--force-confold", *argv)
        assert self.run("dpkg", "--audit") == ""

    def install(self) -> None:
        """Install all our packages."""
        self.dpkg("--install", *[f"/in/{next((self.path / 'in').glob(name + '_*')).name}" for name in self.names])

    def purge(self) -> None:
        """Remove all our packages, and then their configuration."""
        self.dpkg("--remove", *self.names)
        self.dpkg("--purge", *self.names)

    def snapshot(self) -> set[str]:
        """Every path, with the target of a link; and every diversion."""
        found = set((self.path / "var/lib/dpkg/diversions").read_text().splitlines())
        for path in self.path.rglob("*"):
            name = path.relative_to(self.path).as_posix()
            if not _NOT_OURS.match(name):
                found.add(f"{name} -> {path.readlink()}" if path.is_symlink() else name)
        return found

    def sums(self) -> dict[str, str]:
        """The digest of every file in /etc that is ours or the original's to keep."""
        return {
            path.relative_to(self.path).as_posix(): sha256_of(path)
            for path in (self.path / "etc").rglob("*")
            if path.is_file() and not path.is_symlink() and path.name != "ld.so.cache"
        }

    def text(self, path: str) -> str:
        """The content of a file."""
        return (self.path / path).read_text()


@pytest.fixture(scope="module", params=releases("bookworm"))
def root(request: pytest.FixtureRequest, built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    release: str = request.param
    tar = cached_tar(recipe_for(Kind(release, full=False)), CACHE / "rootfs", mirror=Mirror.of_this_machine())
    path = tmp_path_factory.mktemp(release) / "root"
    path.mkdir()
    tools.run(["tar", "--extract", "--numeric-owner", "--file", tar, "--directory", path], quiet=True, timeout=600)
    (path / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (path / "usr/sbin/policy-rc.d").chmod(0o755)
    (path / "etc/dpkg/dpkg.cfg.d/test").write_text("force-unsafe-io\n")
    yield Root(path, built(release), release)
    shutil.rmtree(path, ignore_errors=True)


def test_install_reinstall_remove_and_purge(root: Root) -> None:
    before = root.snapshot()
    root.install()
    fresh = root.snapshot() | {TRIGGER}
    root.install()
    assert root.snapshot() == fresh

    etc = root.path / "etc"
    wants = etc / "systemd/user/default.target.wants"
    assert sorted(path.name for path in wants.iterdir() if path.name.startswith("cros")) == [
        "cros-garcon.service", "cros-vmstat-metrics.service",
    ]  # fmt: skip
    assert (etc / "systemd/system/multi-user.target.wants/cros-sftp.service").is_symlink()
    assert (etc / "systemd/system/systemd-journald-audit.socket").readlink() == Path("/dev/null")
    assert (etc / "pulse/daemon.conf.distrib").exists()
    assert "fragment-size-msec = 20" in root.text("etc/pulse/daemon.conf")
    assert b"CrosAdapta" in (etc / "dconf/db/local").read_bytes()
    assert (root.path / TRIGGER).exists()
    assert not (etc / "apt/trusted.gpg.d/cros.gpg").exists()
    for name, target in {
        "x-www-browser": "/usr/bin/garcon-url-handler",
        "www-browser": "/usr/bin/garcon-url-handler",
        "gnome-www-browser": "/usr/bin/garcon-url-handler",
        "x-terminal-emulator": "/usr/bin/garcon-terminal-handler",
        "sommelier": f"/{HOST}/bin/sommelier",
        "swrast_dri": f"/{HOST}/lib/swrast_dri.so",
        "virtio_gpu_dri": f"/{HOST}/lib/virtio_gpu_dri.so",
    }.items():
        assert (etc / "alternatives" / name).readlink() == Path(target)

    root.purge()
    assert root.snapshot() == before


def test_upgrade_from_the_original(root: Root, tmp_path: Path) -> None:
    before = root.snapshot()
    root.install()
    fresh = root.snapshot() | {TRIGGER}
    root.purge()

    (root.path / "in/original").mkdir()
    for original in ORIGINALS:
        shutil.copy(make(original, tmp_path), root.path / "in/original")
    root.run(
        "dpkg", "--install", *[f"/in/original/{original.name}_{original.version}_all.deb" for original in ORIGINALS]
    )
    conf = "etc/skel/.config/cros-garcon.conf"
    (root.path / conf).write_text("DisableAutomaticCrosPackageUpdates=true\n")
    (root.path / "etc/apt/sources.list.d").mkdir(exist_ok=True)
    source = root.path / "etc/apt/sources.list.d/cros.list"
    source.write_text("deb https://storage.example/cros-packages/72 stable main\n")
    root.install()
    assert root.text(conf) == "DisableAutomaticCrosPackageUpdates=true\n"
    assert "[signed-by=/usr/share/keyrings/cros-archive-keyring.gpg]" in source.read_text()
    source.unlink()
    assert (root.snapshot() | {TRIGGER}) - {f"{conf}.dpkg-dist"} == fresh

    root.purge()
    (root.path / f"{conf}.dpkg-dist").unlink(missing_ok=True)
    assert root.snapshot() == before


@pytest.mark.parametrize("step", ["preinst", "unpack"])
def test_a_failed_upgrade_from_the_original_leaves_it_as_it_was(root: Root, tmp_path: Path, step: str) -> None:
    before = root.snapshot()
    place = root.path / "in" / "failing"
    place.mkdir()
    originals = [make(original, tmp_path).name for original in ORIGINALS]
    for deb in originals:
        shutil.copy(tmp_path / deb, place)
    root.run("dpkg", "--install", *[f"/in/failing/{deb}" for deb in originals])
    paths, sums = root.snapshot(), root.sums()
    wanted = {deb.split("_")[0] for deb in originals}
    debs = [deb for deb in (root.path / "in").glob("*.deb") if deb.name.split("_")[0] in wanted]
    broken = [f"/in/failing/{failing(deb, place, step=step).name}" for deb in debs]
    with pytest.raises(CommandError, match="exited with 1"):
        root.run("dpkg", "--force-confold", "--abort-after=100", "--install", *broken)
    assert list(differences(paths, root.snapshot() - {TRIGGER})) == []
    assert root.sums() == sums

    root.install()
    root.purge()
    for name in wanted - set(root.names):
        root.run("dpkg", "--purge", name)
    shutil.rmtree(place)
    assert root.snapshot() == before


@pytest.mark.parametrize("step", ["preinst", "unpack"])
def test_a_failed_upgrade_keeps_what_an_editor_has_put_in_the_place_of_a_link(root: Root, step: str) -> None:
    before = root.snapshot()
    root.install()
    edited = {f"etc/pulse/{name}": f"# {name}, edited by an editor\n" for name in ("daemon.conf", "default.pa")}
    for path, text in edited.items():
        (root.path / path).unlink()
        (root.path / path).write_text(text)
    place = root.path / "in" / "failing"
    place.mkdir()
    [deb] = (root.path / "in").glob("cros-pulse-config_*.deb")
    broken = failing(deb, place, step=step)
    with pytest.raises(CommandError, match="exited with 1"):
        root.run("dpkg", "--force-confold", "--install", f"/in/failing/{broken.name}")
    assert {path: root.text(path) for path in edited} == edited
    shutil.rmtree(place)

    root.install()
    assert {path: root.text(path) for path in edited} == edited
    root.purge()
    assert root.snapshot() == before


def test_edits_survive_the_next_milestone(root: Root, keyring: Path, tmp_path: Path) -> None:
    before = root.snapshot()
    root.install()
    edited = {
        "etc/skel/.config/cros-garcon.conf": "DisableAutomaticCrosPackageUpdates=true\n",
        "etc/pulse/daemon.conf.cros": "; edited where it is\n",
        "etc/sommelierrc": "# mine\n",
    }
    for path, text in edited.items():
        (root.path / path).write_text(text)
    # As editors and `sed -i` do it: a file in the place of the link.
    (root.path / "etc/pulse/default.pa").unlink()
    (root.path / "etc/pulse/default.pa").write_text("# edited by an editor\n")

    next_one = root.path / "in" / "73"
    build_debs(
        root.release, version=version(R73(), EPOCH, root.release), epoch=EPOCH, keyring=keyring, out=next_one,
        cache=CACHE,
    )  # fmt: skip
    root.dpkg("--install", *[f"/in/73/{deb.name}" for deb in next_one.iterdir() if "gpu-alpha" not in deb.name])
    assert root.run("dpkg-query", "--show", "--showformat=${Version}", "cros-garcon").startswith("73.11647.")
    assert {path: root.text(path) for path in edited} == edited
    assert root.text("etc/pulse/default.pa.cros") == "# edited by an editor\n"
    for name in ("daemon.conf", "default.pa"):
        assert (root.path / "etc/pulse" / name).readlink() == Path(f"{name}.cros")
    shutil.rmtree(next_one)
    root.purge()
    assert root.snapshot() == before


def test_a_host_without_some_of_its_files_is_no_obstacle(root: Root) -> None:
    root.install()
    host = f"/{HOST}"
    said = root.run(
        "sh", "-euc",
        f"mkdir -p {host}; mount -t tmpfs host {host}; mkdir {host}/bin {host}/lib; touch {host}/bin/sommelier; "
        f"mount -o remount,ro {host}; dpkg --install /in/cros-sommelier-config_*.deb 2>&1",
    )  # fmt: skip
    assert "the host has no /opt/google/cros-containers/lib/swrast_dri.so" in said
    assert root.run("dpkg", "--audit") == ""
    shutil.rmtree(root.path / "opt/google", ignore_errors=True)
    root.purge()


def test_handlers_run_the_hosts_program_with_the_arguments_given(root: Root) -> None:
    root.install()
    garcon = root.path / HOST / "bin/garcon"
    garcon.parent.mkdir(parents=True)
    garcon.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    garcon.chmod(0o755)
    odd = ["-x", "a b", 'it\'s "quoted"', "$HOME;*", "", "--"]
    said = "".join(f"<{word}>" for word in odd)
    try:
        for browser in ("x-www-browser", "www-browser", "gnome-www-browser", "garcon-url-handler"):
            assert root.run(browser, *odd) == f"<--client><--url>{said}"
        for terminal in ("x-terminal-emulator", "garcon-terminal-handler"):
            assert root.run(terminal, *odd) == f"<--client><--terminal>{said}"
    finally:
        shutil.rmtree(root.path / "opt/google")
        root.purge()


def test_the_key_is_trusted_for_our_repository_and_for_no_other(root: Root, tmp_path: Path) -> None:
    root.install()
    published = signed(tmp_path).gfile_dir / "apt_signed"
    for name in ("ours", "other"):
        shutil.copytree(published, root.path / "srv" / name)
    (root.path / "usr/share/keyrings/cros-archive-keyring.gpg").write_bytes(dearmoured(published / KEYRING))
    sources = root.path / "etc/apt/sources.list.d"
    (root.path / "etc/apt/sources.list").write_text("")
    try:
        (sources / "cros.list").write_text("deb copy:/srv/ours bookworm main\n")
        # Without systemd apt itself binds the source, when it has read it already.
        with pytest.raises(CommandError, match=r"NO_PUBKEY|Missing key"):
            root.run("apt-get", "update")
        root.run("apt-get", "update")
        assert re.search(r"995 copy:/srv/ours", root.run("apt-cache", "policy"))
        (sources / "other.list").write_text("deb copy:/srv/other bookworm main\n")
        with pytest.raises(CommandError, match=r"NO_PUBKEY|Missing key"):
            root.run("apt-get", "update")
    finally:
        for path in ("srv/ours", "srv/other"):
            shutil.rmtree(root.path / path)
        for name in ("cros.list", "other.list"):
            (sources / name).unlink(missing_ok=True)
        root.purge()
