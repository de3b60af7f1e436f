"""The user's session: its manager, its services, and the environment that applications get."""

import contextlib
from collections.abc import Sequence

from common.errors import CheckFailedError, DeadlineError
from common.waiting import wait_until
from lxd import host
from lxd.checks.base import Guest, Situation, check, difference, fail_for
from lxd.container import Container

SESSION_UNITS = ("sommelier@0.service", "sommelier-x@0.service", "cros-garcon.service")
MORE_UNITS = ("sommelier@1.service", "sommelier-x@1.service", "cros-vmstat-metrics.service")
# How long after "ready" sommelier may take to tell the user manager its display; seconds.
ANNOUNCE_TIMEOUT = 60.0
# How long after it was started a host's program may take to say so, on a machine with a lot to do; seconds.
CALL_TIMEOUT = 60.0
HOME = f"/home/{host.USER}"
LANG = "en_US.UTF-8"
# What sommelier says, by the mock's answers. The low-density twins are instance 1's.
DISPLAYS = {"DISPLAY": ":0", "WAYLAND_DISPLAY": "wayland-0", "XCURSOR_SIZE": "24"}
LOW_DENSITY = {
    "DISPLAY_LOW_DENSITY": ":1",
    "WAYLAND_DISPLAY_LOW_DENSITY": "wayland-1",
    "XCURSOR_SIZE_LOW_DENSITY": "24",
}
# What every unit of the user gets.
MANAGER = {
    "HOME": HOME,
    "USER": host.USER,
    "SHELL": "/bin/bash",
    "LANG": LANG,
    "XDG_RUNTIME_DIR": f"/run/user/{host.UID}",
    "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{host.UID}/bus",
    "SOMMELIER_VERSION": "mock",
}
# What garcon gets on top of that, and with it every application that it starts.
GARCON = {
    "BROWSER": "/usr/bin/garcon-url-handler",
    "NCURSES_NO_UTF8_ACS": "1",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/local/games:/usr/sbin:/usr/bin:/usr/games:/sbin:/bin",
    "QT_AUTO_SCREEN_SCALE_FACTOR": "1",
    "QT_QPA_PLATFORMTHEME": "gtk3",
    "XCURSOR_THEME": "Adwaita",
    "XDG_CONFIG_HOME": f"{HOME}/.config",
    "XDG_DATA_DIRS": f"{HOME}/.local/share:{HOME}/.local/share/flatpak/exports/share:"
    "/var/lib/flatpak/exports/share:/usr/local/share:/usr/share",
    "HOME": HOME,
    "LANG": LANG,
    "XDG_RUNTIME_DIR": f"/run/user/{host.UID}",
}


def environment(user: Container) -> dict[str, str]:
    """The user manager's environment, which every application gets."""
    return variables(user.systemctl("show-environment").out)


def variables(text: str) -> dict[str, str]:
    """Lines of NAME=value."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def login(container: Container, script: str) -> str:
    """Run a shell script in a login shell of the user's, as a terminal does; it has to succeed."""
    return container.get(["su", "--login", host.USER, "--command", script], timeout=120)


def calls_of(user: Container, program: str, wanted: Sequence[Sequence[str]], *, before: int = 0) -> list[list[str]]:
    """The arguments of each call of a host's program after the first `before` ones.

    What starts it does not wait for it: so those that are `wanted` are waited for. Where they do not come, the caller
    sees what did.
    """
    found: list[list[str]] = []

    def come() -> bool:
        calls = user.mock_calls(program)[before:]
        found[:] = [[str(word) for word in argv] for call in calls if isinstance(argv := call["argv"], list)]
        return all(argv in found for argv in wanted)

    with contextlib.suppress(DeadlineError):
        wait_until(come, f"{program} to be called", timeout=CALL_TIMEOUT)
    return found


# Others start programs of the host's again, and a unit that fails.
@check(Situation.HOST, Situation.GPU, alone=True)
def user_services_run(guest: Guest) -> None:
    """The user manager reaches `running`, with garcon and sommelier active and started as the host expects."""
    user = guest.user
    user.wait_running()
    user.check_active(SESSION_UNITS)
    calls = calls_of(user, "garcon", [["--server"]])
    if calls != [["--server"]]:
        raise CheckFailedError(f"garcon was started with {calls!r}", hint="once, with --server")
    for variable, wanted in (("DISPLAY", ":0"), ("WAYLAND_DISPLAY", "wayland-0"), ("SOMMELIER_VERSION", "mock")):
        wait_for_variable(user, variable, wanted)


def wait_for_variable(user: Container, variable: str, wanted: str) -> None:
    """Wait for sommelier: it says that it is ready before it runs the program that announces its display."""
    try:
        value = wait_until(lambda: environment(user).get(variable), f"{variable} to be set", timeout=ANNOUNCE_TIMEOUT)
    except DeadlineError as err:
        raise CheckFailedError(
            f"{variable} is not in the user manager's environment",
            details=user.journal(*SESSION_UNITS),
        ) from err
    if value != wanted:
        raise CheckFailedError(f"{variable} is {value!r} in the user manager's environment, not {wanted!r}")


@check(Situation.HOST)
def more_user_services_run(guest: Guest) -> None:
    """Sommelier for low density and the memory statistics run too, as the host expects."""
    user = guest.user
    user.check_active(MORE_UNITS)
    calls = calls_of(user, "crostini_metric_reporter", [[]])
    if calls != [[]]:
        raise CheckFailedError(f"crostini_metric_reporter was started with {calls!r}", hint="once, with nothing")
    for variable, wanted in (LOW_DENSITY | DISPLAYS).items():
        wait_for_variable(user, variable, wanted)


@check(Situation.HOST)
def user_environment(guest: Guest) -> None:
    """The user manager has the session's variables, and garcon those that applications need besides."""
    found = environment(guest.user)
    wrong = [f"in the user manager's environment {phrase}" for phrase in difference(found, MANAGER)]
    missing = {"/usr/local/bin", "/usr/bin"} - set(found.get("PATH", "").split(":"))
    if missing:
        wrong.append(f"PATH in the user manager's environment is {found.get('PATH')!r}, without {min(missing)}")
    calls_of(guest.user, "garcon", [["--server"]])
    for call in guest.user.mock_calls("garcon"):
        given = call["environment"]
        if call["argv"] == ["--server"] and isinstance(given, dict):
            wrong += [f"in garcon's environment {phrase}" for phrase in difference(given, GARCON)]
            break
    else:
        wrong.append("garcon was not started with --server")
    fail_for(wrong, hint="cros-garcon-override.conf has garcon's variables, /etc/locale.conf the locale")


@check(Situation.HOST)
def login_shells_are_set_up(guest: Guest) -> None:
    """A login shell has the locale en_US.UTF-8, and knows sommelier's displays."""
    for variable, value in (DISPLAYS | LOW_DENSITY).items():
        wait_for_variable(guest.user, variable, value)
    said = login(guest.root, "locale 2>&1 >/dev/null; env; locale charmap; locale --all-locales")
    found = variables(said)
    wrong = [f"in a login shell {phrase}" for phrase in difference(found, {"LANG": LANG, **DISPLAYS, **LOW_DENSITY})]
    lines = said.splitlines()
    wrong += [f"locale complains: {line}" for line in lines if line.startswith("locale: ")]
    wrong += [f"there is no {what}" for what in ("UTF-8", "en_US.utf8") if what not in lines]
    fail_for(wrong, hint="lxd/guest.py names the locale, cros-sommelier has /etc/profile.d/sommelier.sh")
