"""Units: ours are on, Debian's that do not belong in this container are off."""

from lxd.checks.base import Guest, Situation, check, difference, fail_for

# As `systemctl is-enabled` says.
ENABLED = {
    "cros-bind-keyring.path": "enabled",
    "cros-bind-keyring.service": "enabled",
    "cros-sftp.service": "enabled",
    "usr-share-fonts-chromeos.mount": "enabled",
    "systemd-networkd.service": "enabled",
    "systemd-resolved.service": "enabled",
}
MASKED = ("systemd-journald-audit.socket", "systemd-binfmt.service")
NOT_WAITED_FOR = "systemd-networkd-wait-online.service"
ACTIVE = ("cros-bind-keyring.path", "dbus.service", "systemd-journald.service", "systemd-logind.service",
          "systemd-networkd.service", "systemd-resolved.service", "systemd-udevd.service")  # fmt: skip
# User units as `systemctl --global is-enabled` says; sommelier's instances are wanted by links in /usr/lib.
USER_ENABLED = {
    "cros-garcon.service": "enabled",
    "cros-vmstat-metrics.service": "enabled",
    "cros-notificationd.service": "static",  # D-Bus starts it
}
WANTED_BY_USER = ("sommelier@0.service", "sommelier@1.service", "sommelier-x@0.service", "sommelier-x@1.service")


@check(Situation.BARE)
def system_units_are_enabled(guest: Guest) -> None:
    """Our system units and the network's are enabled, and those that run always are active."""
    answers = guest.root.ask({unit: f"systemctl is-enabled {unit}" for unit in ENABLED})
    wrong = difference({unit: answer.out.strip() for unit, answer in answers.items()}, ENABLED)
    states = guest.root.ask({unit: f"systemctl is-active {unit}" for unit in ACTIVE})
    wrong += difference({unit: answer.out.strip() for unit, answer in states.items()}, dict.fromkeys(ACTIVE, "active"))
    fail_for(wrong)


@check(Situation.BARE)
def user_units_are_enabled(guest: Guest) -> None:
    """Our user units are enabled for every user."""
    answers = guest.root.ask({unit: f"systemctl --global is-enabled {unit}" for unit in USER_ENABLED})
    wrong = difference({unit: answer.out.strip() for unit, answer in answers.items()}, USER_ENABLED)
    places = "/etc/systemd/user/default.target.wants /usr/lib/systemd/user/default.target.wants"
    linked = guest.root.run(["sh", "-c", f"find {places} -type l -exec test -e {{}} \\; -printf '%f\\n'"]).out.split()
    wrong += [f"{unit} is not wanted by default.target" for unit in WANTED_BY_USER if unit not in linked]
    fail_for(wrong)


@check(Situation.BARE)
def unfit_units_are_masked(guest: Guest) -> None:
    """Units that fail in a container are masked, and nothing waits for a network."""
    questions = {unit: f"systemctl is-enabled {unit}" for unit in (*MASKED, NOT_WAITED_FOR)}
    found = {unit: answer.out.strip() for unit, answer in guest.root.ask(questions).items()}
    fail_for(difference(found, dict.fromkeys(MASKED, "masked") | {NOT_WAITED_FOR: "disabled"}))
