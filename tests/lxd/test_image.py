"""Building an image: the same bytes twice, nothing of the build left in it, and everything named that is missing."""

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from debian.deb822 import Deb822

from common import tools
from common.errors import ArtifactError, ToolMissingError
from common.mirror import Mirror, native_arch
from lxd import contents, guest, sbom
from lxd.image import SQUASHFS, Inputs, build_image, pack, prepare_for, repository_packages
from lxd.metadata import ImageName
from tests.common.aptparts import EPOCH, signed
from tests.conftest import FakeTool

MIRROR = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")
NAME = ImageName(release="bookworm", arch="amd64", type="default")
# What finish.sh works on, and the package that pulls in the rest of ours.
SMALL = ("dbus", "locales", "man-db", "openssh-server", "systemd-resolved", "systemd-sysv", guest.GUEST_TOOLS)
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw=ep, as ping has it


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed(tmp_path_factory.mktemp("a repository"), releases=["bookworm"]).gfile_dir / "apt_signed"


def test_the_repositorys_packages_are_read(repository: Path) -> None:
    assert repository_packages(repository, NAME) == {
        ("cros-guest-tools", "72.11316+deb12"),
        ("cros-garcon", "72.11316+deb12"),
        ("libdrm2", "2:2.4.12"),
    }


@pytest.mark.parametrize(
    "missing",
    ["", "cros-archive-keyring.asc", "dists/bookworm/InRelease", "dists/bookworm/main/binary-amd64/Packages"],
)
def test_what_the_repository_lacks_is_named(repository: Path, tmp_path: Path, missing: str) -> None:
    copy = tmp_path / "apt_signed"
    shutil.copytree(repository, copy)
    gone = copy / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(ArtifactError, match=f"artifact '{Path('apt_signed', missing).as_posix()}' is missing"):
        repository_packages(copy, NAME)


def test_a_repository_without_the_guest_tools_is_refused(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "apt_signed"
    shutil.copytree(repository, copy)
    index = copy / "dists/bookworm/main/binary-amd64/Packages"
    index.write_text(index.read_text().replace("cros-guest-tools", "cros-guest-fools"))
    with pytest.raises(ArtifactError, match="has no package 'cros-guest-tools'"):
        repository_packages(copy, NAME)


def test_the_source_of_the_build_carries_its_key(repository: Path) -> None:
    source = Deb822(guest.build_sources(repository, "bookworm"))
    assert source["URIs"].startswith("copy:/")
    assert " " not in source["URIs"]
    assert "%20" in source["URIs"]
    lines = [line.strip() for line in source["Signed-By"].strip().splitlines()]
    assert lines[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    key = [line if line != "." else "" for line in lines]
    assert key == (repository / "cros-archive-keyring.asc").read_text().strip().splitlines()


@pytest.mark.parametrize("release", ["bullseye", "bookworm", "trixie"])
def test_the_guest_updates_from_the_mirror_and_the_live_repository(release: str) -> None:
    files = guest.guest_files(MIRROR, release=release, milestone=73)
    stanzas = [Deb822(stanza) for stanza in files["etc/apt/sources.list.d/debian.sources"].split("\n\n")]
    assert [(each["URIs"], each["Suites"]) for each in stanzas] == [
        (MIRROR.archive, f"{release} {release}-updates"),
        (MIRROR.security, f"{release}-security"),
    ]
    assert all(each["Signed-By"].startswith("/usr/share/keyrings/") for each in stanzas)
    cros = files["etc/apt/sources.list.d/cros.list"]
    assert cros.startswith("deb [signed-by=/usr/share/keyrings/")
    assert cros.endswith(f" https://storage.googleapis.com/cros-packages/73 {release} main\n")
    assert files["etc/ssh/sshd_not_to_be_run"] == ""


def test_only_bullseye_has_its_resolver_inside_systemd() -> None:
    assert "systemd-resolved" not in guest.packages("bullseye")
    assert "systemd-resolved" in guest.packages("bookworm")


def test_this_machines_programs_need_no_preparation(fake_tool: FakeTool) -> None:
    calls = fake_tool("update-binfmts")
    prepare_for(native_arch())
    assert not calls.exists()


def test_an_architecture_that_runs_already_is_left_alone(fake_tool: FakeTool) -> None:
    fake_tool("dpkg", says="amd64")
    fake_tool("arch-test", says="arm64: ok")
    calls = fake_tool("update-binfmts")
    prepare_for("arm64")
    assert not calls.exists()


def test_a_foreign_architecture_gets_its_emulator(fake_tool: FakeTool) -> None:
    fake_tool("dpkg", says="amd64")
    fake_tool("mount")
    fake_tool("arch-test", exit_code=1, says="arm64: not supported on this machine/kernel")
    calls = fake_tool("update-binfmts")
    with pytest.raises(ToolMissingError, match="cannot run programs of 'arm64'"):
        prepare_for("arm64")
    assert calls.read_text() == "--enable qemu-aarch64\n"


def test_an_architecture_that_cannot_run_is_named(fake_tool: FakeTool) -> None:
    fake_tool("arch-test", exit_code=1, says="mips64: not supported on this machine/kernel")
    with pytest.raises(ToolMissingError, match="cannot run programs of 'mips64'") as caught:
        prepare_for("mips64")
    assert "qemu-user-static" in caught.value.hint


def _tar(path: Path, *, mtime: int) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in (("./bin/ping", b"ping" * 9999), ("./note", b"text")):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), mtime, 0o755
            info.pax_headers = {"SCHILY.xattr.user.note": "kept"}
            if name.endswith("ping"):
                info.pax_headers["SCHILY.xattr.security.capability"] = CAPABILITY.decode("latin-1")
            tar.addfile(info, io.BytesIO(content))


def test_packing_gives_the_same_bytes(tmp_path: Path) -> None:
    tar = tmp_path / "a root.tar"
    _tar(tar, mtime=EPOCH)
    for name in ("one", "two"):
        pack(tar, tmp_path / name / SQUASHFS, epoch=EPOCH)
    assert (tmp_path / "one" / SQUASHFS).read_bytes() == (tmp_path / "two" / SQUASHFS).read_bytes()
    assert [path.name for path in (tmp_path / "one").iterdir()] == [SQUASHFS]
    listed = tools.capture(["unsquashfs", "-UTC", "-lls", tmp_path / "one" / SQUASHFS])
    assert "drwxr-xr-x root/root" in listed
    assert "2023-11-14 22:13 squashfs-root\n" in listed


@pytest.mark.root
def test_packing_keeps_capabilities(tmp_path: Path) -> None:
    _tar(tmp_path / "root.tar", mtime=EPOCH)
    pack(tmp_path / "root.tar", tmp_path / SQUASHFS, epoch=EPOCH)
    tools.run(["unsquashfs", "-quiet", "-dest", tmp_path / "root", tmp_path / SQUASHFS], quiet=True)
    assert os.getxattr(tmp_path / "root/bin/ping", "security.capability") == CAPABILITY
    assert os.getxattr(tmp_path / "root/note", "user.note") == b"kept"


def test_a_broken_tar_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(Exception, match="mksquashfs exited with"):
        pack(tmp_path / "root.tar", tmp_path / "out" / SQUASHFS, epoch=EPOCH)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_missing_repository_is_found_before_any_work(tmp_path: Path, fake_tool: FakeTool) -> None:
    calls = fake_tool("mmdebstrap")
    with pytest.raises(ArtifactError, match="artifact 'apt_signed' is missing"):
        build_image(_inputs(tmp_path / "apt_signed", MIRROR), tmp_path / "out")
    assert not calls.exists()
    assert not (tmp_path / "out").exists()


def _inputs(repository: Path, mirror: Mirror) -> Inputs:
    return Inputs(name=NAME, milestone=72, epoch=EPOCH, repository=repository, mirror=mirror, packages=SMALL)


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same small image, built twice in different places."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("the second one")
    for folder in folders:
        build_image(_inputs(repository, Mirror.of_this_machine()), folder)
    return folders


@pytest.fixture(scope="module")
def root(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its root file system, unpacked."""
    root = tmp_path_factory.mktemp("unpacked") / "root"
    tools.run(["unsquashfs", "-quiet", "-no-progress", "-dest", root, built[0] / SQUASHFS], quiet=True)
    return root


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_the_same_inputs_give_the_same_bytes(built: tuple[Path, Path]) -> None:
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in built)
    assert set(one) == {"lxd.tar.xz", "incus.tar.xz", SQUASHFS, contents.FILE, sbom.FILE}
    assert [name for name in one if one[name] != two.get(name)] == []


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_packages_come_from_where_they_should(built: tuple[Path, Path]) -> None:
    listed = contents.read_table((built[0] / contents.FILE).read_text(), contents.FILE)
    origins = {each.name: each.origin for each in listed}
    assert origins["cros-guest-tools"] == origins["cros-garcon"] == "Google"
    assert origins["systemd"] == "Debian"


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_nothing_of_the_build_is_left(root: Path) -> None:
    assert (root / "etc/machine-id").read_bytes() == b""
    assert not (root / "var/lib/dbus/machine-id").exists()
    assert (root / "etc/resolv.conf").readlink() == Path("../run/systemd/resolve/stub-resolv.conf")
    assert not (root / "etc/hostname").exists()
    for empty in ("var/lib/apt/lists", "var/log", "var/cache/apt", "opt/google", "var/cache/man", "tmp", "run"):
        files = [path for path in (root / empty).rglob("*") if path.is_file() and not path.is_symlink()]
        assert [path.name for path in files if path.name != "lock"] == [], empty
    assert (root / "opt/google/cros-containers").is_dir()
    assert sorted(path.name for path in (root / "etc/apt/sources.list.d").iterdir()) == ["cros.list", "debian.sources"]
    assert not (root / "etc/apt/sources.list").exists()
    assert list((root / "etc/ssh").glob("ssh_host_*")) == []
    assert list((root / "dev").iterdir()) == []
    assert not (root / "usr/bin/dpkg.distrib").exists()
    assert (root / "var/lib/dpkg/diversions").read_text().count("/usr/bin/dpkg\n") == 0


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_no_file_names_the_repository_of_the_build(root: Path, repository: Path) -> None:
    found = tools.capture(
        ["grep", "-rlF", "-e", "copy:/", "-e", str(repository), root / "etc", root / "var"], ok=(0, 1)
    )
    assert found == ""


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_what_must_be_off_is_off(root: Path) -> None:
    assert (root / "etc/ssh/sshd_not_to_be_run").exists()
    assert (root / "etc/systemd/system/systemd-binfmt.service").readlink() == Path("/dev/null")
    wanted = root / "etc/systemd/system"
    assert (wanted / "multi-user.target.wants/systemd-networkd.service").is_symlink()
    assert not (wanted / "network-online.target.wants/systemd-networkd-wait-online.service").is_symlink()
    assert "LANG=en_US.UTF-8" in (root / "etc/default/locale").read_text()
