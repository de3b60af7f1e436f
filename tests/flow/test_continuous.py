"""The README's first command, as a user runs it, and real clients of what it published."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from common import tools
from common.branches import find_branch
from common.files import ROOT
from common.mirror import Mirror, native_arch
from common.rootfs import Recipe, cached_tar
from common.serve import Served, serving
from common.waiting import wait_until
from lxd.daemon import Lxd, lxd
from lxd.servers import Server
from tests.support import FLOW, IMAGES, JOBS, Checkout, Finished

pytestmark = [pytest.mark.flow, pytest.mark.timeout(3600)]

STORE = ROOT / "out" / "gs"


def results() -> dict[str, dict[str, object]]:
    return {path.parent.name: json.loads(path.read_text()) for path in JOBS.glob("*/result.json")}


@pytest.fixture(scope="session")
def served(continuous: Finished, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The buckets over HTTP and HTTPS."""
    with serving(STORE, state=tmp_path_factory.mktemp("serve")) as urls:
        yield urls


def test_every_job_passed_and_is_in_the_report(continuous: Finished) -> None:
    done = results()
    names = {
        "guest_tools", "apt_repo", "apt_signer", f"lxd_container_{native_arch()}_bookworm",
        "publish_apt_staging", "publish_lxd_staging",
    }  # fmt: skip
    assert {name: done[name]["state"] for name in names} == dict.fromkeys(names, "passed")
    page = (ROOT / "out" / "report" / "index.html").read_text()
    for name in names:
        assert f'id="{name}"' in page
    for url in ("gs://cros-packages-staging/72", "gs://cros-containers-staging/72"):
        assert url in page
        assert url in continuous.output


def test_the_image_was_booted_and_checked(continuous: Finished) -> None:
    job = JOBS / f"lxd_container_{native_arch()}_bookworm"
    for image in IMAGES:
        assert_checked(job / "artifacts" / image)


def assert_checked(image: Path) -> None:
    """All boot checks were done, and passed."""
    cases = list(ElementTree.parse(image / "sponge_log.xml").getroot().iter("testcase"))
    assert len(cases) > 8
    bad = [
        (case.get("name"), each.tag) for case in cases for each in case if each.tag in ("failure", "error", "skipped")
    ]
    assert bad == []


def test_the_images_of_trixie_pass_too(continuous: Finished) -> None:
    """On another branch, whose jobs have places of their own beside bookworm's."""
    built = Checkout(ROOT).run("invoke", "lxd-container", "--branch", "main", "--release", "trixie", timeout=3000)
    assert built.code == 0, built.output
    job = JOBS.parent / str(find_branch("main").milestone) / f"lxd_container_{native_arch()}_trixie"
    for kind in ("default", "test"):
        assert_checked(job / "artifacts" / "lxd" / "trixie" / native_arch() / kind)


def test_with_nothing_changed_nothing_runs(continuous: Finished) -> None:
    again = Checkout(ROOT).run(*FLOW)
    assert again.code == 0, again.output
    assert again.output.count(": unchanged") == 6
    assert ": passed in" not in again.output


def test_a_bucket_that_lost_its_pointer_is_published_again(continuous: Finished) -> None:
    pointer = STORE / "cros-containers-staging" / "72" / "streams" / "v1" / "images.json"
    before = pointer.read_bytes()
    pointer.unlink()
    again = Checkout(ROOT).run(*FLOW)
    assert again.code == 0, again.output
    assert "publish_lxd_staging: passed" in again.output
    assert json.loads(pointer.read_text())["products"].keys() == json.loads(before)["products"].keys()


def test_apt_in_a_clean_root_installs_cros_guest_tools(served: Served, tmp_path: Path) -> None:
    mirror = Mirror.of_this_machine()
    recipe = Recipe(release="bookworm", arch=native_arch(), variant="apt")
    root = tmp_path / "root"
    root.mkdir()
    tar = cached_tar(recipe, ROOT / "out" / "cache" / "rootfs", mirror=mirror)
    tools.run(["tar", "--extract", "--file", tar, "--directory", root, "--numeric-owner"], quiet=True, timeout=300)
    url = served.http.replace("localhost", "127.0.0.1")  # the clean root has no /etc/hosts
    shutil.copyfile(
        STORE / "cros-packages-staging" / "72" / "cros-archive-keyring.asc", root / "usr/share/keyrings/cros.asc"
    )
    (root / "etc/apt/sources.list.d/cros.sources").write_text(
        f"Types: deb\nURIs: {url}/cros-packages-staging/72\nSuites: bookworm\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/cros.asc\n"
    )
    (root / "etc/apt/apt.conf.d/99strict").write_text(
        'Acquire::Check-Date "true";\nAcquire::Check-Valid-Until "true";\nAcquire::AllowInsecureRepositories "false";\n'
    )
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")

    def run(*argv: str) -> str:
        return tools.capture(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--root", root, "--mount-proc", *argv],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": "/tmp"},
            timeout=900,
        )

    try:
        run("apt-get", "--error-on=any", "update")
        policy = run("apt-cache", "policy", "cros-guest-tools")
        assert "/cros-packages-staging/72 bookworm/main" in policy
        said = run("apt-get", "install", "--yes", "--no-install-recommends", "cros-guest-tools")
        assert "WARNING" not in said
        status = run("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Abbrev}\n", "cros-*")
        assert "cros-guest-tools ii" in status
        assert "cros-sommelier ii" in status
        assert (
            not list((root / "etc/apt/trusted.gpg.d").glob("cros*"))
            or "Signed-By" in (root / "etc/apt/sources.list.d/cros.sources").read_text()
        )
    finally:
        shutil.rmtree(root)


@pytest.fixture
def daemon(server: Server, served: Served, tmp_path: Path) -> Iterator[Lxd]:
    """An LXD, or an Incus, that trusts our server."""
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(served.ca.read_text())
    with lxd(server=server, certificates=authorities) as daemon:
        yield daemon


def test_the_stock_client_launches_debian_bookworm_from_the_published_index(
    daemon: Lxd, served: Served, tmp_path: Path
) -> None:
    kind = daemon.server.kind
    env = {kind.variable: str(daemon.directory), "SSL_CERT_FILE": str(served.ca)}
    env |= {kind.variable.replace("DIR", "CONF"): str(tmp_path / "client")}

    def client(*words: str) -> str:
        return tools.capture([kind.client, *words], env=env, timeout=300)

    client("remote", "add", "cros", f"{served.https}/cros-containers-staging/72", "--protocol=simplestreams")
    listed = client("image", "list", "cros:", "--format=csv", "--columns=l")
    assert "debian/bookworm" in listed
    project = f"--project={daemon.project}"
    client("launch", "cros:debian/bookworm", "penguin", project)
    asks: list[tools.Arg] = [kind.client, "exec", project, "penguin", "--", "systemctl", "is-system-running"]
    wait_until(
        lambda: tools.capture(asks, env=env, ok=range(256), timeout=60).strip() == "running",
        "the launched container to run",
        timeout=120,
        every=0.5,
    )
    said = client(
        "exec", project, "penguin", "--", "dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", "cros-guest-tools"
    )
    assert said.strip() == "ii"
    assert client("exec", project, "penguin", "--", "cat", "/etc/hostname").strip() == "penguin"
