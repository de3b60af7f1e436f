"""The bridge our containers are on, with LXD's DHCP and DNS: addresses of its own, and no way out of it.

Between the containers and this process there is `listen`, on the host's address of the bridge.
"""

import ctypes
import ipaddress
import json
import os
import random
import socket
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pylxd

from common import tools
from common.errors import LxdUnavailableError

DESCRIPTION = "made and removed by cros-container-guest-tools"
# Where an address may be from; the later ones are for a machine whose routes take all of 10.0.0.0/8 (a VPN's do).
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
EMULATED = ipaddress.IPv4Network("10.0.2.0/24")  # qemu's, in the machines of lxd/emulator.py
_TRIES = 100
_CLONE_NEWNET = 0x40000000

ListenAt = Callable[[str, int], socket.socket]


@dataclass(frozen=True)
class Network:
    """A bridge.

    Attributes:
        name: the interface.
        gateway: the host's address on it, which is the containers' router and DNS server too.
        listen_at: makes a socket of this process that listens, or is reached, at an address and a port there.
    """

    name: str
    gateway: str
    listen_at: ListenAt

    def listen(self, port: int = 0) -> socket.socket:
        """A socket that listens on the host's address, for any thread of this process to serve containers from.

        What this process asks of others meanwhile goes out through this machine's network as ever.

        Args:
            port: 0 takes a free one.

        Raises:
            OSError: the port is taken.
        """
        return self.listen_at(self.gateway, port)


def listen_here(address: str, port: int) -> socket.socket:
    """Listen on an address of this machine."""
    return socket.create_server((address, port))


def listen_in(namespace: Path) -> ListenAt:
    """What listens in another network namespace, a file below /proc."""

    def enter_and_listen(address: str, port: int) -> socket.socket:
        with namespace.open() as file:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(namespace))
        return listen_here(address, port)

    def listen(address: str, port: int) -> socket.socket:
        with ThreadPoolExecutor(1) as thread:  # which alone enters the namespace, and ends there
            return thread.submit(enter_and_listen, address, port).result()

    return listen


def make(client: pylxd.Client, name: str, *, listen_at: ListenAt) -> Network:
    """Make a bridge of this name (at most 15 characters) in the LXD of `client`.

    Raises:
        LxdUnavailableError: this machine uses every private address.
    """
    router = next(free_subnet(used_addresses()).hosts())
    config = {
        "ipv4.address": f"{router}/24", "ipv4.nat": "false", "ipv4.dhcp": "true", "ipv6.address": "none",
        # Forwarding would be switched on for the whole machine, and stay on.
        "ipv4.routing": "false",
    }  # fmt: skip
    client.api.networks.post(json={"name": name, "type": "bridge", "description": DESCRIPTION, "config": config})
    return Network(name, str(router), listen_at)


def remove(client: pylxd.Client, name: str) -> None:
    """Remove the bridge of this name, unless there is none or it is somebody else's."""
    if client.networks.exists(name) and client.networks.get(name).description == DESCRIPTION:
        client.api.networks[name].delete()


def interfaces() -> set[str]:
    """The names of this machine's network interfaces."""
    return {name for _, name in socket.if_nameindex()}


def free_subnet(used: Collection[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """A /24 for private use that overlaps with none of the `used` ones.

    Raises:
        LxdUnavailableError: there is none.
    """
    for block in map(ipaddress.IPv4Network, PRIVATE):
        for _ in range(_TRIES):
            # At random, so that two runs at once do not take the same.
            start = block.network_address + 256 * random.randrange(block.num_addresses // 256)
            subnet = ipaddress.IPv4Network(f"{start}/24")
            if not any(subnet.overlaps(network) for network in used):
                return subnet
    raise LxdUnavailableError(
        "there is no free subnet for the containers' bridge",
        details="\n".join(map(str, used)),
        hint="`ip route show table all` lists what this machine uses",
    )


def used_addresses() -> list[ipaddress.IPv4Network]:
    """Where this machine has routes to, but for the default one; its own addresses are among them."""
    routes = json.loads(tools.capture(["ip", "-json", "-4", "route", "show", "table", "all"]) or "[]")
    used = [ipaddress.IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
    return [*used, EMULATED]
