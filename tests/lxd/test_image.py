"""Building an image: the same bytes twice, nothing of the build left in it, and everything named that is missing."""

import hashlib
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from debian.deb822 import Deb822

from common import rootfs, tools
from common.errors import ArtifactError, NetworkError, ToolMissingError, UsageError
from common.files import write_atomically
from common.mirror import Mirror, native_arch
from lxd import contents, guest, sbom
from lxd.apps import App, load_apps
from lxd.built import BuiltImage
from lxd.image import build_images, prepare_for, repository_packages
from lxd.image_types import Layer
from lxd.metadata import ImageName
from lxd.pack import SQUASHFS, TARBALL
from lxd.roots import Inputs
from tests.common.aptparts import EPOCH, signed
from tests.conftest import FakeTool
from tests.lxd.test_apps import archive_of
from tests.mirror import ALWAYS, Fault, FaultyMirror, faulty_mirror

MIRROR = Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")
# What finish.sh works on, and the package that pulls in the rest of ours.
KINDS = ("default", "test")
SMALL = ("dbus", "locales", "man-db", "openssh-server", "systemd-resolved", "systemd-sysv", guest.GUEST_TOOLS)
# A layer, small as well; samba-common asks what its workgroup is.
LAYER = ("samba-common", "zstd")
PRESEED = "samba-common samba-common/workgroup string TESTGROUP\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return signed(tmp_path_factory.mktemp("a repository"), releases=["bookworm"]).gfile_dir / "apt_signed"


def test_the_repositorys_packages_are_read(repository: Path) -> None:
    assert repository_packages(repository, "bookworm", "amd64") == {
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
        repository_packages(copy, "bookworm", "amd64")


def test_a_repository_without_the_guest_tools_is_refused(repository: Path, tmp_path: Path) -> None:
    copy = tmp_path / "apt_signed"
    shutil.copytree(repository, copy)
    index = copy / "dists/bookworm/main/binary-amd64/Packages"
    index.write_text(index.read_text().replace("cros-guest-tools", "cros-guest-fools"))
    with pytest.raises(ArtifactError, match="has no package 'cros-guest-tools'"):
        repository_packages(copy, "bookworm", "amd64")


def test_the_source_of_the_build_carries_its_key(repository: Path) -> None:
    source = Deb822(guest.build_sources(repository, "bookworm"))
    assert source["URIs"].startswith("copy:/")
    assert " " not in source["URIs"]
    assert "%20" in source["URIs"]
    lines = [line.strip() for line in source["Signed-By"].strip().splitlines()]
    assert lines[0] == "-----BEGIN PGP PUBLIC KEY BLOCK-----"
    key = [line if line != "." else "" for line in lines]
    assert key == (repository / "cros-archive-keyring.asc").read_text().strip().splitlines()


@pytest.mark.parametrize(
    ("release", "milestone", "folder"), [("bullseye", 69, ""), ("bookworm", 70, "/70"), ("trixie", 73, "/73")]
)
def test_the_guest_updates_from_the_mirror_and_the_live_repository(release: str, milestone: int, folder: str) -> None:
    files = guest.guest_files(MIRROR, release=release, milestone=milestone)
    stanzas = [Deb822(stanza) for stanza in files["etc/apt/sources.list.d/debian.sources"].split("\n\n")]
    assert [(each["URIs"], each["Suites"]) for each in stanzas] == [
        (MIRROR.archive, f"{release} {release}-updates"),
        (MIRROR.security, f"{release}-security"),
    ]
    assert all(each["Signed-By"].startswith("/usr/share/keyrings/") for each in stanzas)
    cros = files["etc/apt/sources.list.d/cros.list"]
    assert cros.startswith("deb [signed-by=/usr/share/keyrings/")
    assert cros.endswith(f" https://storage.googleapis.com/cros-packages{folder} {release} main\n")
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


def test_a_missing_repository_is_found_before_any_work(tmp_path: Path, fake_tool: FakeTool) -> None:
    calls = fake_tool("mmdebstrap")
    with pytest.raises(ArtifactError, match="artifact 'apt_signed' is missing"):
        list(build_images(_inputs(tmp_path / "apt_signed", MIRROR, tmp_path), ["default"], tmp_path / "out"))
    assert not calls.exists()
    assert not (tmp_path / "out").exists()


def test_an_unknown_type_is_refused(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown image type 'tset'"):
        list(build_images(_inputs(repository, MIRROR, tmp_path), ["default", "tset"], tmp_path / "out"))


@pytest.mark.root
def test_a_tarball_is_made_where_it_is_asked_for(
    repository: Path, tmp_path: Path, fake_tool: FakeTool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a root file system with little in it, which no real mmdebstrap would make."""
    fake_tool("mmdebstrap")
    (tmp_path / "root/var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "root/var/lib/dpkg/status").write_text("")
    (tmp_path / "fake-bin/mmdebstrap").write_text(f"""#!/bin/sh
for word; do
    [ "${{before:-}}" = bookworm ] && out=$word
    before=$word
done
exec tar --create --file "$out" --directory "{tmp_path / "root"}" --format=pax .
""")
    monkeypatch.setattr(rootfs, "state", lambda *_: ["one state"])
    inputs = _inputs(repository, MIRROR, tmp_path / "cache")
    [_] = build_images(inputs, ["default"], tmp_path / "out", tarball=True)
    with tarfile.open(tmp_path / "out/default" / TARBALL) as tar:
        assert {"./dev", "./var/lib/dpkg/status"} <= set(tar.getnames())
    squashfs = tools.capture(["unsquashfs", "-stat", tmp_path / "out/default" / SQUASHFS])
    assert "zstd" in squashfs
    items = BuiltImage.read(ImageName(release="bookworm", arch="amd64", type="default"), tmp_path / "out/default").items
    assert items[TARBALL].ftype == "root.tar.xz"
    assert items["lxd.tar.xz"].combined_rootxz_sha256
    assert items["lxd.tar.xz"].combined_squashfs_sha256


def _application(cache: Path) -> App:
    """A third-party application that has been fetched before."""
    [code] = [app for app in load_apps() if app.key == "code"]
    content = archive_of(code)
    app = replace(code, sha256=hashlib.sha256(content).hexdigest())
    write_atomically(cache / "apps" / app.sha256, content)
    return app


def _inputs(repository: Path, mirror: Mirror, cache: Path) -> Inputs:
    return Inputs(
        release="bookworm", arch=native_arch(), milestone=72, epoch=EPOCH, repository=repository, mirror=mirror,
        cache=cache,
        layers=(
            Layer(type="default", packages=SMALL),
            Layer(type="test", packages=LAYER, preseed=PRESEED),
            Layer(type="app_test", packages=(), apps=(_application(cache),)),
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyMirror]:
    """This machine's mirror, and what a test wants to go wrong with it."""
    with faulty_mirror() as faulty:
        yield faulty


@pytest.fixture(scope="module")
def built(repository: Path, faulty: FaultyMirror, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same two small images, built twice in different places, with a cache each; not without trouble."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("the second one")
    for folder in folders:
        faulty.faults = {"base-files_*.deb": (Fault.OTHER, 1), "zstd_*.deb": (Fault.MISSING, 1)}
        inputs = _inputs(repository, faulty.mirror, folder / "cache")
        done = [name.type for name in build_images(inputs, ["default", "test"], folder / "out")]
        assert done == ["default", "test"]
    return folders


@pytest.fixture(scope="module", params=["default", "test"])
def root(built: tuple[Path, Path], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system of each, unpacked."""
    root = tmp_path_factory.mktemp("unpacked") / "root"
    packed = built[0] / "out" / request.param / SQUASHFS
    tools.run(["unsquashfs", "-quiet", "-no-progress", "-dest", root, packed], quiet=True)
    return root


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_the_same_inputs_give_the_same_bytes(built: tuple[Path, Path]) -> None:
    for kind in ("default", "test"):
        one, two = ({path.name: path.read_bytes() for path in (place / "out" / kind).iterdir()} for place in built)
        assert set(one) == {"lxd.tar.xz", "incus.tar.xz", SQUASHFS, contents.FILE, sbom.FILE}
        assert [name for name in one if one[name] != two.get(name)] == []


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_a_type_alone_comes_from_the_cached_root(
    built: tuple[Path, Path], repository: Path, faulty: FaultyMirror, tmp_path: Path
) -> None:
    """Without downloading anything again, or packing what it stands on."""
    before = _archives(built[0])
    faulty.faults = {"*.deb": (Fault.MISSING, ALWAYS)}
    inputs = _inputs(repository, faulty.mirror, built[0] / "cache")
    [name] = build_images(inputs, ["app_test"], tmp_path / "out")
    assert str(name) == f"bookworm {native_arch()} app_test"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["app_test"]
    assert _archives(built[0]) == before
    assert len(list((built[0] / "cache/images").iterdir())) == 1
    folder = tmp_path / "out/app_test"
    [app] = inputs.layers[-1].apps
    assert app.sha256 in (folder / sbom.FILE).read_text()
    program = f"{app.folder}/{app.program}"
    packed = tools.capture(["unsquashfs", "-l", folder / SQUASHFS])
    for path in (program, "/usr/bin/zstd", "/etc/machine-id"):
        assert f"squashfs-root{path}\n" in packed


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_a_package_that_is_never_there_leaves_no_image(
    built: tuple[Path, Path], repository: Path, faulty: FaultyMirror, tmp_path: Path
) -> None:
    faulty.faults = {"bc_*.deb": (Fault.MISSING, ALWAYS)}
    inputs = _inputs(repository, faulty.mirror, built[1] / "cache")
    lowest, layer, _ = inputs.layers
    inputs = replace(inputs, layers=(lowest, replace(layer, packages=("bc",))))
    with pytest.raises(NetworkError, match=r"package 'bc' \(debian/pool/main/b/bc/bc_\S+\): 404"):
        list(build_images(inputs, KINDS, tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["default"]
    assert len(list((built[1] / "cache/images").iterdir())) == 1


def _archives(place: Path) -> set[str]:
    return {path.name for path in (place / "cache/archives").rglob("*.deb")}


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_a_layer_has_its_packages_and_answers(built: tuple[Path, Path]) -> None:
    listed = [contents.read_table((built[0] / "out" / kind / contents.FILE).read_text(), kind) for kind in KINDS]
    default, test = ({each.name for each in packages} for packages in listed)
    assert default < test
    assert {*LAYER} <= test - default
    assert "cros-guest-tools" not in {name.partition("_")[0] for name in _archives(built[0])}, "ours may change"
    assert "zstd" in {name.partition("_")[0] for name in _archives(built[0])}
    smb = tools.capture(["unsquashfs", "-cat", built[0] / "out/test" / SQUASHFS, "etc/samba/smb.conf"])
    assert "workgroup = TESTGROUP" in smb


@pytest.mark.root
@pytest.mark.mirror
@pytest.mark.timeout(1200)
def test_packages_come_from_where_they_should(built: tuple[Path, Path]) -> None:
    listed = contents.read_table((built[0] / "out/default" / contents.FILE).read_text(), contents.FILE)
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
