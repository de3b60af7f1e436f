"""The network: eth0 has an address from the bridge's DHCP, names are resolved there, the host answers."""

import ipaddress
import json

from common.errors import CheckFailedError, DeadlineError
from common.waiting import wait_until
from lxd.checks.base import Guest, Situation, check, difference
from lxd.container import Container
from lxd.repository import WELCOME

# How long DHCP, or the resolver after it, may take on a machine with a lot to do; seconds.
DHCP_TIMEOUT = 60.0
# What LXD and Incus call the domain of a bridge.
DOMAINS = ("lxd", "incus")


def address(container: Container) -> str:
    """The IPv4 address of eth0, or nothing yet."""
    said = container.run(["ip", "-json", "-4", "address", "show", "dev", "eth0", "scope", "global"]).out
    found = [entry for link in json.loads(said or "[]") for entry in link.get("addr_info", [])]
    return str(found[0]["local"]) if found and found[0].get("dynamic") else ""


@check(Situation.BARE, Situation.HOST)
def network_by_dhcp(guest: Guest) -> None:
    """eth0 gets an address, the router and the name server by DHCP."""
    gateway = guest.run.gateway
    wanted = {"the network": _network(gateway), "the router": gateway, "the name server": gateway}
    found: dict[str, str] = {}

    def configured() -> bool:
        found.update(_configuration(guest.root))
        return found == wanted

    try:
        wait_until(configured, "an address by DHCP", timeout=DHCP_TIMEOUT)
    except DeadlineError as err:
        details = guest.root.run(["ip", "address"]).out + guest.root.journal("systemd-networkd.service")
        hint = "the template eth0.network.tpl in the image's metadata, and systemd-networkd"
        raise CheckFailedError(
            "; ".join(f"of eth0, {phrase}" for phrase in difference(found, wanted)), details=details, hint=hint
        ) from err


def _configuration(container: Container) -> dict[str, str]:
    """What DHCP has told so far."""
    routes = json.loads(container.run(["ip", "-json", "-4", "route", "show", "default"]).out or "[]")
    servers = container.run(["resolvectl", "dns", "eth0"]).out
    return {
        "the network": _network(address(container)),
        "the router": str(routes[0].get("gateway", "")) if routes else "",
        "the name server": servers.split(":", 1)[-1].strip(),
    }


def _network(address: str) -> str:
    return str(ipaddress.ip_network(f"{address}/24", strict=False)) if address else ""


@check(Situation.BARE, after=["network-by-dhcp"])
def names_are_resolved(guest: Guest) -> None:
    """Names are resolved by the bridge's name server, through the stub of systemd-resolved."""
    mine = address(guest.root)
    names = [f"{guest.root.name}.{domain}" for domain in DOMAINS]

    def resolved() -> str:
        # -s dns: not the files, where the container's own name may be.
        asked = [guest.root.run(["getent", "-s", "dns", "ahostsv4", name]).out.split() for name in names]
        return next((answer[0] for answer in asked if answer), "")

    try:
        found = wait_until(resolved, f"{names[0]} to be resolved", timeout=DHCP_TIMEOUT)
    except DeadlineError as err:
        raise CheckFailedError(
            f"the name {names[0]} is not resolved",
            details=guest.root.run(["resolvectl", "status", "--no-pager"]).out
            + guest.root.journal("systemd-resolved.service"),
        ) from err
    if found != mine:
        raise CheckFailedError(f"the name {names[0]} is resolved as {found}, not {mine}")


@check(Situation.BARE, after=["network-by-dhcp"])
def host_answers(guest: Guest) -> None:
    """The host's address on the bridge answers."""
    ran = guest.root.run(["curl", "--silent", "--show-error", "--max-time", "60", guest.run.url], timeout=90)
    if ran.out.strip() != WELCOME:
        raise CheckFailedError(f"{guest.run.url} does not answer", details=f"{ran.out}{ran.err}")


@check(Situation.HOST, after=["network-by-dhcp"])
def users_can_ping(guest: Guest) -> None:
    """The user, and not only root, can ping the host."""
    ran = guest.user.run(["ping", "-c", "1", "-W", "60", guest.run.gateway])
    if ran.exit_code != 0:
        raise CheckFailedError(
            f"the user cannot ping {guest.run.gateway}",
            details=ran.out + ran.err,
            hint="a capability of ping's, or net.ipv4.ping_group_range",
        )
