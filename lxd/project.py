"""A project of ours inside an LXD: everything we make is in it, and nothing outside it is touched."""

import contextlib
import itertools
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pylxd

from lxd import network
from lxd.client import NO_ANSWER, connect, wait_for

PREFIX = "cros-container-guest-tools-"
BRIDGE = "crosbr"


@dataclass(frozen=True)
class Project:
    """A project of ours: its name, and the bridge that its containers are on, if they are on one."""

    name: str
    network: network.Network | None


@contextlib.contextmanager
def ours(
    directory: Path, *, disposable: bool = False, listen_at: network.ListenAt | None = network.listen_here
) -> Iterator[Project]:
    """An empty project that no other run uses; what killed runs left is purged first.

    Args:
        directory: the LXD_DIR.
        disposable: the whole daemon goes away soon, so that there is no need to purge the project afterwards.
        listen_at: how this process listens where the daemon's bridges are; with None containers have no eth0.
    """
    client = connect(directory)
    with contextlib.ExitStack() as stack:
        for url in client.api.projects.get().json()["metadata"]:
            _purge_unless_used(directory, url.rsplit("/", 1)[-1])
        name = next(name for number in itertools.count() if _free(stack, directory, name := f"{PREFIX}{number}"))
        if not disposable:
            stack.callback(_purge_if_alive, directory, name)
        _make(client, name)
        devices = {"root": {"type": "disk", "path": "/", "pool": _pool_of(client)}}
        bridge = None
        if listen_at:
            bridge = network.make(client, _bridge_of(name), listen_at=listen_at)
            devices["eth0"] = {"type": "nic", "name": "eth0", "network": bridge.name}
        client.api.profiles["default"].put(params={"project": name}, json={"devices": devices})
        yield Project(name, bridge)


def _bridge_of(name: str) -> str:
    return BRIDGE + name.removeprefix(PREFIX)


def _make(client: pylxd.Client, name: str) -> None:
    config = {"features.images": "true", "features.profiles": "true", "features.storage.volumes": "true"}
    client.api.projects.post(json={"name": name, "config": config})


def _pool_of(client: pylxd.Client) -> str:
    """The pool that the user's default profile names, or the first one."""
    devices = client.api.profiles["default"].get().json()["metadata"]["devices"]
    roots = [str(device["pool"]) for device in devices.values() if device.get("path") == "/" and "pool" in device]
    pools = [str(url).rsplit("/", 1)[-1] for url in client.api.storage_pools.get().json()["metadata"]]
    return (roots or pools)[0]


def _free(stack: contextlib.ExitStack, directory: Path, name: str) -> bool:
    """Take the lock `name` and remove what a killed run left; a bridge that is there still is another daemon's."""
    if not _taken(stack, name):
        return False
    _purge(directory, name)
    return _bridge_of(name) not in network.interfaces()


def _taken(stack: contextlib.ExitStack, name: str) -> bool:
    """Take the lock `name`, unless another process has it: an abstract socket, gone with its process."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0{name}")
    except OSError:
        lock.close()
        return False
    stack.enter_context(lock)
    return True


def _purge_unless_used(directory: Path, name: str) -> None:
    with contextlib.ExitStack() as stack:
        if name.startswith(PREFIX) and _taken(stack, name):
            _purge(directory, name)


def _purge_if_alive(directory: Path, name: str) -> None:
    # When the daemon is gone, the error that says so is under way already.
    with contextlib.suppress(*NO_ANSWER):
        _purge(directory, name)


def remove_containers(client: pylxd.Client) -> None:
    """Switch every container of the client's project off, and delete it."""
    for instance in client.api.instances.get(params={"recursion": "1"}).json()["metadata"]:
        node = client.api.instances[instance["name"]]
        if instance["status"] != "Stopped":
            wait_for(client, node.state.put(json={"action": "stop", "force": True, "timeout": 30}))
        wait_for(client, node.delete())


def _purge(directory: Path, name: str) -> None:
    """Delete a project with all that is in it, and its bridge."""
    everything = connect(directory)
    if not everything.projects.exists(name):
        return
    client = connect(directory, project=name)
    remove_containers(client)
    for image in client.api.images.get(params={"recursion": "1"}).json()["metadata"]:
        wait_for(client, client.api.images[image["fingerprint"]].delete())
    # While the project is there, whoever is killed here is known to have left its bridge too.
    client.api.profiles["default"].put(json={"devices": {}})
    network.remove(everything, _bridge_of(name))
    everything.api.projects[name].delete()
