"""A real LXD finds, verifies and starts what was published, and after the next publication what is newer."""

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
from common.bucket import DirectoryBucket
from common.mirror import native_arch
from common.serve import serving
from lxd.built import BuiltImage
from lxd.daemon import Lxd, lxd
from lxd.metadata import ImageName, write_metadata
from lxd.publish import publish_images
from tests.lxd.conftest import SplitImage

pytestmark = [pytest.mark.root, pytest.mark.lxd, pytest.mark.mirror, pytest.mark.timeout(900)]

NAME = ImageName(release="bookworm", arch=native_arch(), type="default")
NOW = dt.datetime(2026, 11, 24, 12, 10, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Client:
    """lxc, with our daemon, our certificate, and the published tree's URL."""

    daemon: Lxd
    config: Path
    ca: Path
    url: str

    def lxc(self, *words: str) -> str:
        env = {"LXD_DIR": str(self.daemon.directory), "LXD_CONF": str(self.config), "SSL_CERT_FILE": str(self.ca)}
        return tools.capture(["lxc", *words], env=env, timeout=300)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    store = tmp_path / "gs"
    store.mkdir()
    return store


@pytest.fixture
def client(store: Path, tmp_path: Path) -> Iterator[Client]:
    with serving(store, state=tmp_path / "serve") as served, lxd(certificates=served.ca) as daemon:
        yield Client(daemon, tmp_path / "lxc", served.ca, f"{served.https}/cros-containers-staging/72")


def publish(store: Path, folder: Path, image: SplitImage, *, created: int) -> str:
    """Publish one more version; the fingerprint clients should know it by."""
    write_metadata(NAME, folder, milestone=72, created=created)
    shutil.copyfile(image.rootfs, folder / "rootfs.squashfs")
    bucket = DirectoryBucket(store / "cros-containers-staging")
    publish_images(bucket, "72", [BuiltImage.read(NAME, folder)], now=NOW, publisher="test", delta_bases=1)
    content = (folder / "lxd.tar.xz").read_bytes() + (folder / "rootfs.squashfs").read_bytes()
    return hashlib.sha256(content).hexdigest()


def forget_index(client: Client) -> None:
    """Clients keep an index for an hour."""
    cache = client.daemon.directory / "cache"
    shutil.rmtree(cache)
    cache.mkdir()


def test_lxc_refreshes_through_the_delta_and_starts_the_newest_version(
    store: Path, client: Client, good_image: SplitImage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = publish(store, tmp_path / "older", good_image, created=1)
    client.lxc("remote", "add", "cros", client.url, "--protocol=simplestreams")
    project = f"--project={client.daemon.project}"
    client.lxc("image", "copy", "cros:debian/bookworm", "local:", "--auto-update", project)
    newer = publish(store, tmp_path / "newer", good_image, created=2)
    forget_index(client)
    caplog.set_level(logging.DEBUG, "common.serve")
    client.lxc("image", "refresh", older, project)
    requested = re.findall("/20261124_12:11/(\\S+)", caplog.text)
    assert requested == ["lxd.tar.xz", "rootfs.20261124_12:10.vcdiff"]
    rows = list(csv.reader(io.StringIO(client.lxc("image", "list", "cros:", "--format=csv", "--columns=Fl"))))
    assert {row[0] for row in rows} == {older, newer}
    assert [row[1].split(" ")[0] for row in rows if row[0] == newer] == ["debian/bookworm"]
    client.lxc("launch", "cros:debian/bookworm", "penguin", project)
    shown = client.lxc("query", f"/1.0/instances/penguin?project={client.daemon.project}")
    assert newer in shown
    assert '"status": "Running"' in shown
    assert client.lxc("exec", project, "penguin", "--", "cat", "/etc/hostname").strip() == "penguin"
    assert "DHCP=yes" in client.lxc("exec", project, "penguin", "--", "cat", "/etc/systemd/network/eth0.network")
