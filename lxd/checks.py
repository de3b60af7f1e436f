"""What an image has to do, one short function a check, listed by the decorator.

A check gets a container in its situation and raises CheckFailedError. docs/boot-checks.md shows how to add one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from common.errors import CheckFailedError, DeadlineError
from common.waiting import wait_until
from lxd import host
from lxd.container import Container


class Situation(StrEnum):
    """What the container has: nothing of the host's; its mounts and a user; a GPU besides."""

    BARE = "bare"
    HOST = "host"
    GPU = "gpu"


@dataclass(frozen=True)
class Check:
    """A named check, the situations it is run in, and whether the checks after it need it (they are skipped then)."""

    name: str
    summary: str
    situations: tuple[Situation, ...]
    function: Callable[[Container], None]
    needed: bool


CHECKS: list[Check] = []
SESSION_UNITS = ("sommelier@0.service", "sommelier-x@0.service", "cros-garcon.service")
# How long after "ready" sommelier may take to tell the user manager its display; seconds.
ANNOUNCE_TIMEOUT = 15.0


def check(
    *situations: Situation, needed: bool = False
) -> Callable[[Callable[[Container], None]], Callable[[Container], None]]:
    """List a function as a check, run in these situations in the order of this file; its docstring is the summary."""

    def listed(function: Callable[[Container], None]) -> Callable[[Container], None]:
        name = function.__name__.replace("_", "-")
        CHECKS.append(Check(name, (function.__doc__ or "").strip(), situations, function, needed))
        return function

    return listed


@check(Situation.BARE, Situation.HOST, Situation.GPU, needed=True)
def system_boots(container: Container) -> None:
    """The system finishes starting."""
    container.wait_settled()


@check(Situation.BARE, Situation.HOST, Situation.GPU)
def system_runs(container: Container) -> None:
    """The system reaches `running` with no failed unit."""
    container.wait_running()


@check(Situation.HOST, Situation.GPU, needed=True)
def user_made(container: Container) -> None:
    """The host's user can be made, and gets a user manager."""
    host.make_user(container)


@check(Situation.BARE)
def sftp_waits(container: Container) -> None:
    """Without /dev/.ssh, cros-sftp is enabled and has not failed, and Debian's own sshd stays off."""
    unit = "cros-sftp.service"
    found = container.properties(unit, "LoadState", "UnitFileState", "ActiveState")
    wanted = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "inactive"}
    if found != wanted:
        raise CheckFailedError(f"{unit}: {_difference(found, wanted)}", details=container.journal(unit))
    if container.systemctl("is-active", "ssh.service").out.strip() == "active":
        raise CheckFailedError("ssh.service is active", hint="the image needs /etc/ssh/sshd_not_to_be_run")


@check(Situation.BARE)
def nothing_left_behind(container: Container) -> None:
    """Nothing of the image's build is left: package lists, archives, policy-rc.d."""
    places = ["/var/lib/apt/lists", "/var/cache/apt/archives", "/usr/sbin/policy-rc.d"]
    found = container.run(["find", *places, "-type", "f", "!", "-name", "lock"]).out.split()
    if found:
        raise CheckFailedError(f"{len(found)} files of the build are left in the image", details="\n".join(found[:20]))


@check(Situation.HOST, Situation.GPU)
def sftp_serves(container: Container) -> None:
    """With /dev/.ssh, cros-sftp is active and hands out a file."""
    container.check_active(["cros-sftp.service"])
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    source = f"{host.USER}@127.0.0.1:/etc/os-release"
    # ssh wants a key that nobody else can read.
    container.get(["install", "--mode=600", host.CLIENT_KEY, "/root/client_key"])
    argv = ["sftp", "-P", str(host.SFTP_PORT), "-i", "/root/client_key", *options, source, "/root/os-release"]
    ran = container.run(argv)
    if ran.exit_code != 0:
        raise CheckFailedError(
            "cros-sftp hands out no file", details=f"{ran.err}\n{container.journal('cros-sftp.service')}"
        )
    container.get(["cmp", "/etc/os-release", "/root/os-release"])


@check(Situation.HOST, Situation.GPU)
def user_services_run(container: Container) -> None:
    """The user manager reaches `running`, with garcon and sommelier active and started as the host expects."""
    user = container.as_user(host.UID)
    user.wait_running()
    user.check_active(SESSION_UNITS)
    calls = [call["argv"] for call in user.mock_calls("garcon")]
    if calls != [["--server"]]:
        raise CheckFailedError(f"garcon was started with {calls!r}", hint="once, with --server")
    for variable, wanted in (("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "wayland-0"), ("SOMMELIER_VERSION", "mock")):
        _wait_for_variable(user, variable, wanted)


@check(Situation.HOST)
def no_gpu_unset(container: Container) -> None:
    """Without a GPU, SOMMELIER_DRM_DEVICE and SOMMELIER_GLAMOR are not set."""
    found = {name: value for name, value in environment(container.as_user(host.UID)).items() if name in _GPU_VARIABLES}
    if found:
        raise CheckFailedError(f"the user manager's environment has {found!r}, but there is no GPU")


@check(Situation.GPU)
def gpu_set(container: Container) -> None:
    """With a GPU, SOMMELIER_DRM_DEVICE names it and SOMMELIER_GLAMOR is 1, for sommelier itself too."""
    user = container.as_user(host.UID)
    wanted = {"SOMMELIER_DRM_DEVICE": host.GPU, "SOMMELIER_GLAMOR": "1"}
    seen = environment(user)
    found = {name: value for name, value in seen.items() if name in _GPU_VARIABLES}
    if found != wanted:
        raise CheckFailedError(f"the user manager's environment has {found!r}, not {wanted!r}")
    for call in user.mock_calls("sommelier"):
        argv, given = call["argv"], call["environment"]
        if not isinstance(given, dict) or given.get("SOMMELIER_DRM_DEVICE") != host.GPU:
            raise CheckFailedError(f"sommelier {argv!r} was started without SOMMELIER_DRM_DEVICE")


_GPU_VARIABLES = ("SOMMELIER_DRM_DEVICE", "SOMMELIER_GLAMOR")


def environment(user: Container) -> dict[str, str]:
    """The user manager's environment, which every application gets."""
    shown = user.systemctl("show-environment").out
    return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)


def _wait_for_variable(user: Container, variable: str, wanted: str) -> None:
    # sommelier says that it is ready before it runs the program that announces its display.
    try:
        value = wait_until(lambda: environment(user).get(variable), f"{variable} to be set", timeout=ANNOUNCE_TIMEOUT)
    except DeadlineError as err:
        raise CheckFailedError(
            f"{variable} is not in the user manager's environment",
            details=user.journal(*SESSION_UNITS),
        ) from err
    if value != wanted:
        raise CheckFailedError(f"{variable} is {value!r} in the user manager's environment, not {wanted!r}")


def _difference(found: dict[str, str], wanted: dict[str, str]) -> str:
    return ", ".join(
        f"{name} is {found.get(name)!r}, not {wanted[name]!r}" for name in wanted if found.get(name) != wanted[name]
    )
