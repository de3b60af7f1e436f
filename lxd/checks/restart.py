"""The container is switched off and on again: nothing hangs, everything comes back, the journal was kept."""

import json

from lxd.checks.base import Guest, Situation, check, fail_for

# What an orderly stop may take on a machine with a lot to do; seconds. LXD's own default is 30.
STOP_LIMIT = 120.0
# journald's id of "unit entered failed state with result": systemd's sd-messages.h, SD_MESSAGE_UNIT_FAILURE_RESULT.
_UNIT_FAILED = "d9b373ed55a64feb8242e02dbe79a49c"
_LINE = "written before the restart"
_TAG = "cros-boot-check"


@check(Situation.HOST, alone=True)
def stops_cleanly(guest: Guest) -> None:
    """The container ends when it is asked to, in time and without force."""
    guest.root.get(["sh", "-c", f"echo '{_LINE}' | systemd-cat --identifier={_TAG}; journalctl --sync"])
    guest.root.stop_cleanly(timeout=STOP_LIMIT)


@check(Situation.HOST, alone=True, after=["stops-cleanly"])
def starts_again(guest: Guest) -> None:
    """After a restart the system and the user manager reach `running` again, and garcon is back."""
    guest.root.start()
    guest.root.wait_running()
    guest.user.wait_running()
    guest.user.check_active(["cros-garcon.service", "sommelier@0.service", "sommelier-x@0.service"])
    guest.root.check_active(["cros-sftp.service"])


@check(Situation.HOST, after=["starts-again"])
def journal_is_kept(guest: Guest) -> None:
    """The journal of the boot before is there, in /var/log/journal."""
    answers = guest.root.ask(
        {
            "line": f"journalctl --boot=-1 --no-pager --output=cat --identifier={_TAG}",
            "directory": "stat --format='%a %U:%G' /var/log/journal",
        }
    )
    wrong = []
    if answers["directory"].out.strip() != "2755 root:systemd-journal":
        wrong.append(f"/var/log/journal is {answers['directory'].out.strip() or 'missing'}")
    if _LINE not in answers["line"].out:
        wrong.append("a line written to the journal before the restart is gone")
    fail_for(wrong, details=answers["line"].err, hint="cros-logging makes /var/log/journal")


@check(Situation.HOST, after=["starts-again"])
def no_unit_failed_at_the_end(guest: Guest) -> None:
    """No unit failed or had to be killed while the container was switched off."""
    shown = guest.root.run(
        ["journalctl", "--boot=-1", "--no-pager", "--output=json", f"MESSAGE_ID={_UNIT_FAILED}"]
    ).out.splitlines()
    failed = [json.loads(line) for line in shown]
    # A socket that somebody asks for while everything ends cannot start its service any more; nobody is hurt.
    fail_for([str(entry.get("MESSAGE")) for entry in failed if not _is_late_socket(entry)])


def _is_late_socket(entry: dict[str, object]) -> bool:
    unit = str(entry.get("USER_UNIT") or entry.get("UNIT"))
    return unit.endswith(".socket") and entry.get("UNIT_RESULT") == "resources"
