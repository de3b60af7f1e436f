"""The containers' bridge: a subnet nobody uses, in a namespace of its own or in this machine's, and gone afterwards."""

import ipaddress
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import tools
from common.errors import LxdUnavailableError
from common.files import ROOT
from common.waiting import wait_until
from lxd import network, own, project
from lxd.client import connect
from lxd.container import Container, import_image
from lxd.daemon import Lxd, lxd
from lxd.servers import Server
from tests.conftest import FakeTool
from tests.lxd.conftest import SplitImage

NETWORKS = st.lists(
    st.builds(
        lambda address, length: ipaddress.IPv4Network((address, length), strict=False),
        st.integers(0x0A000000, 0x0AFFFFFF) | st.integers(0, 2**32 - 1),
        st.integers(9, 32),
    ),
    max_size=8,
)
USER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from lxd.daemon import lxd

with lxd(directories=[Path(sys.argv[2])]) as daemon:
    print(daemon.network.name, flush=True)
    sys.stdin.read() or daemon.listen().accept()
"""


@given(NETWORKS)
def test_the_subnet_overlaps_with_nothing_in_use(used: list[ipaddress.IPv4Network]) -> None:
    subnet = network.free_subnet(used)
    assert subnet.prefixlen == 24
    assert subnet.is_private
    assert not [other for other in used if other.overlaps(subnet)]


def test_where_all_of_10_is_routed_another_private_block_is_taken() -> None:
    vpn = ipaddress.IPv4Network("10.0.0.0/8")
    assert network.free_subnet([vpn]).subnet_of(ipaddress.IPv4Network("172.16.0.0/12"))


def test_no_free_subnet_is_said() -> None:
    with pytest.raises(LxdUnavailableError, match="no free subnet"):
        network.free_subnet([ipaddress.IPv4Network("0.0.0.0/0")])


def test_routes_and_addresses_are_in_use_but_not_what_the_default_route_leads_to(fake_tool: FakeTool) -> None:
    routes = [
        {"dst": "default", "gateway": "192.0.2.1"},
        {"dst": "10.0.3.0/24", "dev": "lxcbr0"},
        {"type": "local", "dst": "10.7.7.7", "table": "local"},
    ]
    fake_tool("ip", says=json.dumps(routes))
    assert [str(used) for used in network.used_addresses()] == ["10.0.3.0/24", "10.7.7.7/32", "10.0.2.0/24"]


def bridges() -> set[str]:
    """The bridges and nftables chains of ours that are in this machine's own network."""
    chains = tools.capture(["nft", "list", "ruleset"]).split()
    return {word for word in [*network.interfaces(), *chains] if project.BRIDGE in word}


def addresses_of(daemon: Lxd, name: str) -> list[str]:
    """The IPv4 addresses of a container's eth0, as LXD sees them."""
    eth0 = daemon.connect().api.instances[name].state.get().json()["metadata"]["network"]["eth0"]
    return [address["address"] for address in eth0["addresses"] if address["family"] == "inet"]


def assert_connected(daemon: Lxd, image: SplitImage) -> None:
    """A container gets an address and a name by LXD's DHCP and DNS, and reaches what we serve."""
    client = daemon.connect()
    fingerprint = import_image(client, image.metadata, image.rootfs)
    container = Container.create(client, "penguin", image=fingerprint, devices={})
    container.start()
    container.wait_settled()
    dhcp = "[Match]\\nName=eth0\\n[Network]\\nDHCP=ipv4\\n"
    container.get(["sh", "-c", f"printf '{dhcp}' >/etc/systemd/network/eth0.network"])
    container.get(["systemctl", "start", "systemd-networkd"])
    [address] = wait_until(lambda: addresses_of(daemon, container.name), "an address by DHCP", timeout=30)
    assert address.rsplit(".", 1)[0] == daemon.gateway.rsplit(".", 1)[0]
    with daemon.listen() as server:
        server.settimeout(30)
        host, port = server.getsockname()
        assert host == daemon.gateway
        container.get(["python3", "-c", f"import socket; socket.create_connection(({host!r}, {port})).send(b'here')"])
        connection, (peer, _) = server.accept()
        with connection:
            assert (connection.recv(10), peer) == (b"here", address)


@pytest.mark.lxd
@pytest.mark.root
def test_the_bridge_of_our_own_daemon_is_not_on_this_machine(
    server: Server, good_image: SplitImage, tmp_path: Path
) -> None:
    before = bridges()
    with lxd(server=server, directories=[], parent=tmp_path) as daemon:
        assert_connected(daemon, good_image)
        assert bridges() == before


@pytest.mark.lxd
@pytest.mark.root
def test_a_daemon_that_pulls_images_has_this_machines_network_and_no_bridge(tmp_path: Path) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_text("")
    before = bridges()
    with lxd(directories=[], parent=tmp_path, certificates=authorities) as daemon:
        assert bridges() == before
        with pytest.raises(LxdUnavailableError, match="no network"):
            daemon.listen()


@pytest.fixture
def machines_daemon(server: Server, tmp_path: Path) -> Iterator[Path]:
    """A daemon in this machine's own network, as a user's is."""
    authorities = tmp_path / "authorities.pem"
    authorities.write_text("")
    with own.daemon(tmp_path, authorities, server=server) as started:
        yield started.directory


@pytest.mark.lxd
@pytest.mark.root
def test_a_running_lxd_has_a_bridge_for_as_long_as_the_project(machines_daemon: Path, good_image: SplitImage) -> None:
    before = bridges()
    with lxd(directories=[machines_daemon]) as daemon:
        assert daemon.network is not None
        assert daemon.network.name in bridges() - before
        assert_connected(daemon, good_image)
    assert bridges() == before


@pytest.mark.lxd
@pytest.mark.root
def test_a_bridge_that_another_daemon_left_is_passed_by(machines_daemon: Path) -> None:
    before = bridges()
    with lxd(directories=[machines_daemon]) as daemon:
        assert daemon.network is not None
        name = daemon.network.name
    tools.capture(["ip", "link", "add", name, "type", "bridge"])
    try:
        with lxd(directories=[machines_daemon]) as daemon:
            assert daemon.network is not None
            assert daemon.network.name != name
        assert name in bridges()
    finally:
        tools.capture(["ip", "link", "delete", name])
    assert bridges() == before


@pytest.mark.lxd
@pytest.mark.root
def test_a_killed_runs_bridge_goes_with_the_next_run(machines_daemon: Path) -> None:
    before = bridges()
    with tools.started([sys.executable, "-c", USER, str(ROOT), str(machines_daemon)]) as user:
        wait_until(lambda: user.tail() or not user.alive(), "the bridge", timeout=60)
        stale = user.tail()
        assert stale in bridges() - before
        os.kill(user.pid, signal.SIGKILL)
        wait_until(lambda: not user.alive(), "the run to be dead", timeout=10)
    client = connect(machines_daemon)
    foreign = f"{project.BRIDGE}77"
    client.api.networks.post(json={"name": foreign, "type": "bridge", "config": {"ipv4.address": "none"}})
    client.api.projects.post(json={"name": f"{project.PREFIX}77"})
    with lxd(directories=[machines_daemon]):
        assert not client.projects.exists(f"{project.PREFIX}77")
    assert client.networks.exists(foreign), "somebody else's"
    client.api.networks[foreign].delete()
    assert bridges() == before
