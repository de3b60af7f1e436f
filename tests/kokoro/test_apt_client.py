"""A real apt, in a clean root of a release, against what was published: it installs, and refuses what it should."""

import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from common import tools
from common.aptrepo import KEYRING
from common.errors import CommandError
from common.files import ROOT
from common.mirror import Mirror
from common.rootfs import Recipe, cached_tar
from common.signing import Signer, homedir, import_secret_keys
from common.store import Store
from kokoro import publish_apt_staging
from tests.common.aptparts import make_key, signed

pytestmark = [pytest.mark.root, pytest.mark.mirror, pytest.mark.timeout(900)]

CONFIGURATION = """\
Acquire::Check-Date "true";
Acquire::Check-Valid-Until "true";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Retries "0";
Acquire::http::Proxy "DIRECT";
Acquire::http::Timeout "20";
"""
TRUSTED = "/usr/share/keyrings/cros.asc"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a bucket, and notes what is asked for."""

    asked: list[str] = []  # noqa: RUF012, one list for the one server of a test

    def log_message(self, *args: object) -> None:  # noqa: ARG002, the server gives them
        """Note the path."""
        self.asked.append(self.path)


class Client:
    """An apt in a root of its own that knows one repository."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url

    def trust(self, keyring: Path) -> None:
        """Use these public keys, and no others."""
        shutil.copyfile(keyring, self.root / TRUSTED.lstrip("/"))

    def use(self, codename: str) -> None:
        """Forget everything, and use this codename."""
        for folder in ("etc/apt/sources.list.d", "etc/apt/trusted.gpg.d", "var/lib/apt/lists", "var/cache/apt"):
            shutil.rmtree(self.root / folder, ignore_errors=True)
            (self.root / folder).mkdir()
        (self.root / "etc/apt/sources.list").write_text("")
        (self.root / "etc/apt/apt.conf.d/99test").write_text(CONFIGURATION)
        (self.root / "etc/apt/sources.list.d/cros.sources").write_text(
            f"Types: deb\nURIs: {self.url}\nSuites: {codename}\nComponents: main\nSigned-By: {TRUSTED}\n"
        )

    def run(self, *argv: str) -> str:
        """Run a program in the root, which sees no other mounts."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return tools.capture(["unshare", "--mount", "--", "chroot", self.root, *argv], env=env, timeout=120)


@pytest.fixture(scope="module", params=["bullseye", "bookworm", "trixie"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    arch = tools.capture(["dpkg", "--print-architecture"]).strip()
    recipe = Recipe(release=request.param, arch=arch, variant="apt")
    tar = cached_tar(recipe, ROOT / "out/cache/rootfs", mirror=Mirror.of_this_machine())
    root = tmp_path_factory.mktemp(request.param)
    tools.run(["tar", "--extract", "--file", tar, "--directory", root, "--numeric-owner"], quiet=True, timeout=300)
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    env = signed(tmp_path_factory.mktemp("published"))
    publish_apt_staging.build(env)
    assert env.store is not None
    assert env.store.root is not None
    return env.store.root / publish_apt_staging.BUCKET


@pytest.fixture
def bucket(published: Path, tmp_path: Path) -> Path:
    """A copy of what is published, to break."""
    return Path(shutil.copytree(published, tmp_path / "bucket"))


@pytest.fixture
def client(root: Path, bucket: Path) -> Iterator[Client]:
    Handler.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(bucket))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        client = Client(root, f"http://127.0.0.1:{server.server_address[1]}/72")
        client.use("bookworm")
        client.trust(bucket / "72" / KEYRING)
        yield client
        server.shutdown()
        thread.join(timeout=10)


def test_it_installs(client: Client) -> None:
    client.run("apt-get", "update")
    client.run("apt-get", "install", "--yes", "cros-guest-tools")
    status = client.run("dpkg-query", "--show", "--showformat=${Package} ${Version} ${Status}\n", "cros-*")
    assert status.splitlines() == [
        "cros-garcon 72.11316+deb12 install ok installed",
        "cros-guest-tools 72.11316+deb12 install ok installed",
    ]
    assert any("/by-hash/SHA256/" in path for path in Handler.asked)
    client.run("dpkg", "--purge", "cros-guest-tools", "cros-garcon")


def test_it_upgrades(client: Client, bucket: Path, tmp_path: Path) -> None:
    client.run("apt-get", "update")
    client.run("apt-get", "install", "--yes", "cros-garcon")
    newer = signed(tmp_path / "newer", version="73.11647")  # the next milestone, signed by another key
    shutil.rmtree(bucket / "72")
    publish_apt_staging.build(replace(newer, store=Store(tmp_path)))
    (tmp_path / publish_apt_staging.BUCKET / "72").rename(bucket / "72")
    with pytest.raises(CommandError):
        client.run("apt-get", "update", "--error-on=any")
    client.trust(bucket / "72" / KEYRING)
    client.run("apt-get", "update", "--error-on=any")
    client.run("apt-get", "dist-upgrade", "--yes")
    assert client.run("dpkg-query", "--show", "--showformat=${Version}", "cros-garcon") == "73.11647+deb12"
    client.run("dpkg", "--purge", "cros-garcon")


def refused(client: Client, *words: str) -> None:
    """The client takes nothing: neither an index nor a package."""
    with pytest.raises(CommandError) as caught:
        client.run("apt-get", "update", "--error-on=any")
    assert any(word in str(caught.value) for word in words), str(caught.value)
    with pytest.raises(CommandError, match="exited with 100"):
        client.run("apt-get", "install", "--yes", "cros-guest-tools")


def test_a_tampered_index(client: Client, bucket: Path) -> None:
    """Every copy of every index says another package, in the size that InRelease gives."""
    indices = [path for path in bucket.rglob("binary-*/**/*") if path.is_file()]
    packages = next(path for path in indices if path.name == "Packages").read_bytes()
    evil = packages.replace(b"cros-guest-tools", b"evil-guest-tools")
    for path in indices:
        path.write_bytes(evil if path.read_bytes() == packages else path.read_bytes()[::-1])
    refused(client, "Hash Sum mismatch")


def test_a_tampered_package(client: Client, bucket: Path) -> None:
    client.run("apt-get", "update")
    for path in bucket.rglob("cros-garcon*.deb"):
        path.write_bytes(path.read_bytes().replace(b"debian-binary", b"debian-binarx"))
    with pytest.raises(CommandError, match="exited with 100") as caught:
        client.run("apt-get", "install", "--yes", "cros-guest-tools")
    assert "Hash Sum mismatch" in str(caught.value)


def test_a_wrong_key(client: Client, tmp_path: Path) -> None:
    with homedir() as home:
        key = make_key(tmp_path, "Key-Type: EDDSA", "Key-Curve: ed25519", "Key-Usage: sign", name="stranger")
        stranger = tmp_path / "stranger.asc"
        stranger.write_text(Signer(home, import_secret_keys(home, [key])).public_keys())
    client.trust(stranger)
    refused(client, "NO_PUBKEY", "Missing key", "not available")


def test_unsigned(client: Client, bucket: Path) -> None:
    for name in ("InRelease", "Release.gpg"):
        (bucket / "72/dists/bookworm" / name).unlink()
    refused(client, "is not signed")


def test_release_gpg_alone_is_enough(client: Client, bucket: Path) -> None:
    (bucket / "72/dists/bookworm/InRelease").unlink()
    client.run("apt-get", "update")
    assert "72.11316+deb12" in client.run("apt-cache", "policy", "cros-garcon")
