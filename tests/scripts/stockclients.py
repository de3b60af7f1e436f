"""Stock clients of a milestone, each in a loop of its own: an apt that updates and installs, an LXD that launches."""

import contextlib
import hashlib
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from common import tools
from common.errors import ReleaseError
from common.files import ROOT
from common.localca import certificates
from common.mirror import Mirror, native_arch
from common.rootfs import Recipe, cached_tar
from common.waiting import wait_until
from lxd.daemon import Lxd
from lxd.metadata import ImageName, write_metadata

NAME = ImageName(release="bookworm", arch=native_arch(), type="default")
TRUSTED = "/usr/share/keyrings/cros.asc"
CONFIGURATION = """\
Acquire::Retries "0";
Acquire::http::Proxy "DIRECT";
Acquire::http::Timeout "20";
Acquire::AllowInsecureRepositories "false";
Dpkg::Options { "--force-unsafe-io"; };
"""
PACKAGES = ("cros-guest-tools", "cros-garcon")


@dataclass
class Loop:
    """A client that does the same again and again, in a thread of its own.

    Attributes:
        turn: one round; returns the version it got. ReleaseError, AssertionError: it was served badly.
        seen: the version of each round that went well.
        wrong: what was said in each one that did not.
    """

    turn: Callable[[], str]
    seen: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def one_more(self) -> None:
        """Wait for the end of a round."""
        before = len(self.seen) + len(self.wrong)
        wait_until(lambda: len(self.seen) + len(self.wrong) > before, "a round of a client", timeout=120)

    @contextlib.contextmanager
    def running(self) -> Iterator["Loop"]:
        """Round after round for as long as the `with` lasts; what goes wrong there is noted, not raised."""
        end = threading.Event()

        def go() -> None:
            while not end.is_set():
                try:
                    self.seen.append(self.turn())
                except (ReleaseError, AssertionError) as err:
                    self.wrong.append(str(err))

        thread = threading.Thread(target=go)
        thread.start()
        try:
            yield self
        finally:
            end.set()
            thread.join()


class Apt:
    """An apt of bookworm in a root of its own that knows one repository."""

    def __init__(self, root: Path, url: str, keyring: bytes) -> None:
        self.root = root
        arch = tools.capture(["dpkg", "--print-architecture"]).strip()
        recipe = Recipe(release="bookworm", arch=arch, variant="apt")
        tar = cached_tar(recipe, ROOT / "out/cache/rootfs", mirror=Mirror.of_this_machine())
        root.mkdir()
        tools.run(["tar", "--extract", "--file", tar, "--directory", root, "--numeric-owner"], quiet=True, timeout=300)
        (root / TRUSTED.lstrip("/")).write_bytes(keyring)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (root / "etc/apt/sources.list").write_text("")
        (root / "etc/apt/apt.conf.d/99test").write_text(CONFIGURATION)
        (root / "etc/apt/sources.list.d/cros.sources").write_text(
            f"Types: deb\nURIs: {url}\nSuites: bookworm\nComponents: main\nSigned-By: {TRUSTED}\n"
        )

    def turn(self) -> str:
        """Update, install, and see that all is of one version; then remove it, so that the next round may go back."""
        self._run("apt-get", "--quiet", "update", "--error-on=any")
        self._run("apt-get", "--quiet", "install", "--yes", "cros-guest-tools")
        shown = self._run("dpkg-query", "--show", "--showformat=${Version}\n", *PACKAGES)
        self._run("apt-get", "--quiet", "purge", "--yes", *PACKAGES)
        versions = set(shown.split())
        assert len(versions) == 1, f"a mixture of {sorted(versions)}"
        return versions.pop().partition("+")[0]

    def _run(self, *argv: str) -> str:
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return tools.capture(["unshare", "--mount", "--", "chroot", self.root, *argv], env=env, timeout=120)


class Launcher:
    """An lxc that reads the index anew each time, launches the newest image, and looks what is in it."""

    def __init__(self, daemon: Lxd, config: Path, ca: Path, url: str, versions: Mapping[str, str]) -> None:
        self._versions = versions
        kind = daemon.server.kind
        self._env = {"SSL_CERT_FILE": str(ca), kind.variable: str(daemon.directory)}
        self._env[kind.variable.replace("DIR", "CONF")] = str(config)
        self._cache, self._client = daemon.directory / "cache", kind.client
        self._project = f"--project={daemon.project}"
        self._run("remote", "add", "cros", url, "--protocol=simplestreams")
        self._image = ""

    def turn(self) -> str:
        """Forget the index, which clients keep for an hour; refresh, launch, and see that the root is this image's."""
        for path in self._cache.iterdir():
            shutil.rmtree(path)
        if self._image:
            self._run("image", "refresh", self._image, self._project)
        self._run("launch", "cros:debian/bookworm", "penguin", self._project)
        try:
            version = self._run("file", "pull", self._project, "penguin/version", "-").strip()
            self._image = self._run("config", "get", "penguin", "volatile.base_image", self._project).strip()
        finally:
            self._run("delete", "--force", "penguin", self._project)
        named = self._versions[self._image]
        assert named == version, f"{version!r} in the image of {named!r}"
        return version

    def _run(self, *words: str) -> str:
        return tools.capture([self._client, *words], env=self._env, timeout=120)


class SmallImages:
    """Images that start in a moment: busybox, and a file that says the version.

    Attributes:
        versions: of the images that were made, by their fingerprints.
    """

    def __init__(self, place: Path) -> None:
        self.versions: dict[str, str] = {}
        self._tree = place / "tree"
        recipe = Recipe(release="bookworm", arch=NAME.arch, variant="extract", include=("busybox-static",))
        tar = cached_tar(recipe, ROOT / "out/cache/rootfs", mirror=Mirror.of_this_machine())
        self._tree.mkdir(parents=True)
        tools.run(["tar", "--extract", "--file", tar, "--directory", self._tree, "./bin/busybox"], quiet=True)
        for folder in ("dev", "proc", "sys", "run", "tmp", "root", "sbin", "etc/systemd/network"):
            (self._tree / folder).mkdir(parents=True)
        init = self._tree / "sbin/init"
        init.write_text("#!/bin/busybox sh\nwhile :; do /bin/busybox sleep 60; done\n")
        init.chmod(0o755)

    def __call__(self, folder: Path, version: str) -> None:
        """Make the files of a version's image."""
        (self._tree / "version").write_text(version)
        write_metadata(NAME, folder, milestone=72, created=int(time.time()))
        tools.run(["mksquashfs", self._tree, folder / "rootfs.squashfs", "-no-progress", "-quiet"], quiet=True)
        both = b"".join((folder / file).read_bytes() for file in ("lxd.tar.xz", "rootfs.squashfs"))
        self.versions[hashlib.sha256(both).hexdigest()] = version


@contextlib.contextmanager
def https_for(url: str, state: Path) -> Iterator[tuple[str, Path]]:
    """A server that hands on what another one serves over HTTP, as LXD wants HTTPS: its URL, and its authority."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = requests.get(f"{url}{self.path}", timeout=60)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *args: object) -> None:
            pass

    files = certificates(state)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://localhost:{server.server_address[1]}", files.ca
        server.shutdown()
        thread.join()
