"""A real LXD finds, verifies and starts what was published, and after the next publication what is newer."""

import contextlib
import csv
import datetime as dt
import hashlib
import io
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from common import tools
from common.bucket_directory import DirectoryBucket
from common.mirror import native_arch
from common.serve import serving
from lxd.built import BuiltImage
from lxd.daemon import Lxd, lxd
from lxd.metadata import ImageName, write_metadata
from lxd.publish import publish_images
from lxd.servers import Server
from tests.lxd.conftest import SplitImage

pytestmark = [pytest.mark.root, pytest.mark.lxd, pytest.mark.mirror, pytest.mark.timeout(900)]

NAME = ImageName(release="bookworm", arch=native_arch(), type="default")
NOW = dt.datetime(2026, 11, 24, 12, 10, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Client:
    """lxc or incus, with our daemon, our certificate, and the published tree's URL."""

    daemon: Lxd
    config: Path
    ca: Path
    url: str

    def run(self, *words: str) -> str:
        kind = self.daemon.server.kind
        env = {"SSL_CERT_FILE": str(self.ca), kind.variable: str(self.daemon.directory)}
        env |= {kind.variable.replace("DIR", "CONF"): str(self.config)}
        return tools.capture([kind.client, *words], env=env, timeout=300)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "gs"
    store.mkdir()
    return store


@contextlib.contextmanager
def client_of(server: Server, store: Path, place: Path) -> Iterator[Client]:
    """A client of what `store` serves."""
    with (
        serving(store, state=place / "serve") as served,
        lxd(server=server, certificates=served.ca) as daemon,
    ):
        client = Client(daemon, place / "client", served.ca, f"{served.https}/cros-containers-staging/72")
        client.run("remote", "add", "cros", client.url, "--protocol=simplestreams")
        yield client


@pytest.fixture
def client(store: Path, tmp_path: Path) -> Iterator[Client]:
    with client_of(Server.LXD, store, tmp_path) as client:
        yield client


def publish(store: Path, folder: Path, image: SplitImage, *, created: int) -> str:
    """Publish one more version; the fingerprint clients should know it by."""
    write_metadata(NAME, folder, milestone=72, created=created)
    shutil.copyfile(image.rootfs, folder / "rootfs.squashfs")
    bucket = DirectoryBucket(store / "cros-containers-staging")
    publish_images(bucket, 72, [BuiltImage.read(NAME, folder)], now=NOW, publisher="test", delta_bases=1)
    content = (folder / "lxd.tar.xz").read_bytes() + (folder / "rootfs.squashfs").read_bytes()
    return hashlib.sha256(content).hexdigest()


def forget_index(client: Client) -> None:
    """Clients keep an index for an hour."""
    cache = client.daemon.directory / "cache"
    shutil.rmtree(cache)
    cache.mkdir()


def test_lxd_refreshes_through_the_delta_and_starts_the_newest_version(
    store: Path, client: Client, good_image: SplitImage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = publish(store, tmp_path / "older", good_image, created=1)
    project = f"--project={client.daemon.project}"
    client.run("image", "copy", "cros:debian/bookworm", "local:", "--auto-update", project)
    newer = publish(store, tmp_path / "newer", good_image, created=2)
    forget_index(client)
    caplog.set_level(logging.DEBUG, "common.serve")
    client.run("image", "refresh", older, project)
    requested = re.findall("/20261124_12:11/(\\S+)", caplog.text)
    assert requested == ["lxd.tar.xz", "rootfs.20261124_12:10.vcdiff"]
    rows = list(csv.reader(io.StringIO(client.run("image", "list", "cros:", "--format=csv", "--columns=Fl"))))
    assert {row[0] for row in rows} == {older, newer}
    assert [row[1].split(" ")[0] for row in rows if row[0] == newer] == ["debian/bookworm"]
    client.run("launch", "cros:debian/bookworm", "penguin", project)
    shown = client.run("query", f"/1.0/instances/penguin?project={client.daemon.project}")
    assert newer in shown
    assert '"status": "Running"' in shown
    assert client.run("exec", project, "penguin", "--", "cat", "/etc/hostname").strip() == "penguin"
    assert "DHCP=yes" in client.run("exec", project, "penguin", "--", "cat", "/etc/systemd/network/eth0.network")


@pytest.mark.incus
def test_incus_starts_the_newest_version(store: Path, good_image: SplitImage, tmp_path: Path) -> None:
    publish(store, tmp_path / "older", good_image, created=1)
    newer = publish(store, tmp_path / "newer", good_image, created=2)
    with client_of(Server.INCUS, store, tmp_path) as client:
        project = f"--project={client.daemon.project}"
        client.run("launch", "cros:debian/bookworm", "penguin", project)
        shown = client.run("query", f"/1.0/instances/penguin?project={client.daemon.project}")
        assert newer in shown
        assert '"status": "Running"' in shown
        assert client.run("exec", project, "penguin", "--", "cat", "/etc/hostname").strip() == "penguin"
