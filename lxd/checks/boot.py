"""The container starts, finishes starting, and knows who it is."""

import re

from common.errors import CheckFailedError
from common.waiting import scaled
from lxd import host
from lxd.checks.base import Guest, Situation, check, difference, fail_for

# What systemd may take from its own start until everything is started, on a machine with a lot to do; seconds.
BOOT_LIMIT = 45.0
_STAMPS = ("UserspaceTimestampMonotonic", "FinishTimestampMonotonic")
_MACHINE_ID = re.compile("[0-9a-f]{32}")


@check(Situation.BARE, Situation.HOST, Situation.GPU, needed=True)
def system_boots(guest: Guest) -> None:
    """The system finishes starting."""
    guest.root.wait_settled()


@check(Situation.BARE, Situation.HOST, Situation.GPU)
def system_runs(guest: Guest) -> None:
    """The system reaches `running` with no failed unit."""
    guest.root.wait_running()


@check(Situation.BARE, Situation.HOST)
def starts_in_time(guest: Guest) -> str:
    """Starting takes less than 45 s by systemd's own clock; the report says how long it took."""
    found = guest.root.get(["systemctl", "show", f"--property={','.join(_STAMPS)}"])
    stamps = dict(line.split("=", 1) for line in found.splitlines() if "=" in line)
    begun, finished = (int(stamps[name]) for name in _STAMPS)
    seconds = (finished - begun) / 1_000_000
    limit = scaled(BOOT_LIMIT)
    if seconds > limit:
        raise CheckFailedError(
            f"the system took {seconds:.1f} s to start, more than {limit:g} s",
            details=guest.root.run(["systemd-analyze", "blame", "--no-pager"]).out,
        )
    return f"running {seconds:.2f} s after its start"


@check(Situation.BARE)
def image_says_what_it_is(guest: Guest) -> None:
    """The release that the image's metadata names is the one inside, and hostname and hosts are the container's."""
    answers = guest.root.ask(
        {
            "release": '. /etc/os-release; echo "$ID $VERSION_CODENAME"',
            "/etc/hostname": "cat /etc/hostname",
            "the kernel's hostname": "uname -n",
            "/etc/hosts": "sed 's/#.*//' /etc/hosts | grep --only-matching --word-regexp --max-count=1 -- $(uname -n)",
        }
    )
    found = {name: answer.out.strip() for name, answer in answers.items()}
    wanted = dict.fromkeys(("/etc/hostname", "the kernel's hostname", "/etc/hosts"), guest.root.name)
    if guest.about.release:
        wanted["release"] = f"debian {guest.about.release}"
    fail_for(difference(found, wanted), hint="LXD makes these files from the templates in the image's metadata")


@check(Situation.BARE, Situation.HOST)
def machine_id_is_its_own(guest: Guest) -> None:
    """There is a machine-id, D-Bus has the same, and no other container of the image has it."""
    mine = guest.root.get(["cat", "/etc/machine-id"]).strip()
    if not _MACHINE_ID.fullmatch(mine):
        raise CheckFailedError(f"/etc/machine-id is {mine!r}", hint="it has to be an empty file in the image")
    bus = guest.root.get(["dbus-uuidgen", "--get"]).strip()
    if bus != mine:
        raise CheckFailedError(f"/var/lib/dbus/machine-id is {bus!r}, and /etc/machine-id {mine!r}")
    with guest.run.lock:
        same = [name for name, known in guest.run.machine_ids.items() if known == mine and name != guest.root.name]
        guest.run.machine_ids[guest.root.name] = mine
    if same:
        raise CheckFailedError(
            f"/etc/machine-id is {mine!r} in {same[0]} and in {guest.root.name}",
            hint="it has to be an empty file in the image",
        )


@check(Situation.HOST, Situation.GPU, needed=True)
def user_made(guest: Guest) -> None:
    """The host's user can be made, and gets a user manager."""
    host.make_user(guest.root)
