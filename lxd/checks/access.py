"""Who gets in, and who may what: the Files app over SFTP, nobody over SSH, the user everything."""

from common.errors import CheckFailedError
from lxd import host
from lxd.checks.base import Guest, Situation, check, difference, fail_for
from lxd.checks.session import login

_SFTP_UNIT = "cros-sftp.service"
_SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
# Port -> whose it may be, in an image with nothing of the host's: the resolver's stub and LLMNR.
_RESOLVER = {"53", "5355"}
_LAUNCHER_ACTIONS = ("package-install", "package-remove", "system-sources-refresh")


@check(Situation.BARE)
def sftp_waits(guest: Guest) -> None:
    """Without /dev/.ssh, cros-sftp is enabled, does nothing and has not failed."""
    found = guest.root.properties(_SFTP_UNIT, "LoadState", "UnitFileState", "ActiveState")
    wanted = {"LoadState": "loaded", "UnitFileState": "enabled", "ActiveState": "inactive"}
    wrong = [f"{_SFTP_UNIT}: {phrase}" for phrase in difference(found, wanted)]
    fail_for(wrong, details=guest.root.journal(_SFTP_UNIT) if wrong else "")


@check(Situation.BARE, Situation.HOST)
def sshd_is_off(guest: Guest) -> None:
    """Debian's own sshd does not run and nothing listens for it: no port 22, no socket of systemd's."""
    answers = guest.root.ask(
        {
            "mark": "find /etc/ssh/sshd_not_to_be_run",
            "service": "systemctl is-active ssh.service",
            "socket": "systemctl is-active ssh.socket; systemctl is-enabled ssh.socket",
            "others": "systemctl list-units --all --plain --no-legend --no-pager 'sshd*' 'ssh*' --type=socket,service "
            "--state=active,activating",
            "port": "ss -Hltn 'sport = :22'",
            "local": "find /run/ssh-unix-local",
        }
    )
    said = {name: answer.out.strip() for name, answer in answers.items()}
    wrong = []
    if not said["mark"]:
        wrong.append("/etc/ssh/sshd_not_to_be_run is missing")
    if said["service"] in ("active", "activating", "reloading"):
        wrong.append(f"ssh.service is {said['service']}")
    if said["socket"].split() != ["inactive", "disabled"]:
        wrong.append(f"ssh.socket is {' and '.join(said['socket'].split()) or 'unknown'}, not inactive and disabled")
    wrong += [f"{line.split()[0]} is active" for line in said["others"].splitlines() if "keygen" not in line]
    if said["port"]:
        wrong.append("something listens on port 22")
    if said["local"]:
        wrong.append("/run/ssh-unix-local is there, so systemd listens for ssh on a local socket")
    fail_for(wrong, hint="the image needs /etc/ssh/sshd_not_to_be_run, and no systemd-ssh-generator")


@check(Situation.BARE, types=("default",))
def no_port_is_open(guest: Guest) -> None:
    """Nothing but the resolver listens for TCP connections."""
    lines = guest.root.get(["ss", "-Hltnp"]).splitlines()
    wrong = [
        f"port {words[3].rsplit(':', 1)[-1]} is open: {' '.join(words[5:]) or 'nobody knows whose'}"
        for line in lines
        if (words := line.split())[3].rsplit(":", 1)[-1] not in _RESOLVER
    ]
    fail_for(wrong)


@check(Situation.HOST, Situation.GPU)
def sftp_serves(guest: Guest) -> None:
    """With /dev/.ssh, cros-sftp is active, hands out a file and takes one as the user's."""
    guest.root.check_active([_SFTP_UNIT])
    # ssh wants a key that nobody else can read.
    guest.root.get(["install", "--mode=600", host.CLIENT_KEY, "/root/client_key"])
    script = f"""
        printf 'get /etc/os-release /root/fetched\\nput /etc/os-release sent\\n' >/root/batch
        sftp -b /root/batch -P {host.SFTP_PORT} -i /root/client_key {" ".join(_SSH_OPTIONS)} {host.USER}@127.0.0.1
    """
    ran = guest.root.run(["sh", "-euc", script], timeout=120)
    if ran.exit_code != 0:
        raise CheckFailedError(
            "cros-sftp hands out no file, or takes none", details=f"{ran.err}\n{guest.root.journal(_SFTP_UNIT)}"
        )
    sent = f"/home/{host.USER}/sent"
    compare = f"cmp /etc/os-release /root/fetched && cmp /etc/os-release {sent} && stat --format=%U {sent}"
    owner = guest.root.get(["sh", "-c", compare]).strip()
    guest.root.get(["rm", "/root/fetched", "/root/batch", "/root/client_key", sent])
    if owner != host.USER:
        raise CheckFailedError(f"a file sent through cros-sftp belongs to {owner!r}, not {host.USER!r}")


@check(Situation.HOST)
def sudo_asks_nothing(guest: Guest) -> None:
    """The user may do everything with sudo, without a password; others may not."""
    wrong = []
    answers = guest.root.ask(
        {
            "root": f"su --login {host.USER} --command 'sudo --non-interactive id --user'",
            "another": f"su --login {host.USER} --command 'sudo --non-interactive --user=nobody id --user --name'",
            "nobody": "setpriv --reuid=nobody --regid=nogroup --clear-groups sudo --non-interactive id --user",
            "rules": "visudo --check --quiet",
        }
    )
    for name, wanted in (("root", "0"), ("another", "nobody")):
        if answers[name].out.strip() != wanted:
            wrong.append(f"sudo does not let the user be {wanted}: {answers[name].err.strip() or 'it said nothing'}")
    if answers["nobody"].exit_code == 0:
        wrong.append("sudo lets nobody be root")
    if answers["rules"].exit_code != 0:
        wrong.append(f"visudo complains: {answers['rules'].err.strip() or answers['rules'].out.strip()}")
    fail_for(wrong, hint="cros-sudo-config has /etc/sudoers.d/10-cros-nopasswd")


@check(Situation.HOST)
def polkit_asks_nothing(guest: Guest) -> None:
    """The user may do everything through pkexec, and install packages from the launcher, without a password."""
    wrong = []
    script = "pkexec --disable-internal-agent id --user"
    ran = guest.root.run(["su", "--login", host.USER, "--command", script], timeout=120)
    if ran.out.strip() != "0":
        wrong.append(f"pkexec does not let the user be root: {ran.err.strip() or 'it said nothing'}")
    pid = guest.user.properties("cros-garcon.service", "MainPID")["MainPID"]
    questions = {
        action: f"pkcheck --action-id org.freedesktop.packagekit.{action} --process {pid}"
        for action in _LAUNCHER_ACTIONS
    }
    wrong += [
        f"garcon may not do {action}: {(answer.err or answer.out).strip()}"
        for action, answer in guest.root.ask(questions).items()
        if answer.exit_code != 0
    ]
    fail_for(wrong, details=guest.root.journal("polkit.service") if wrong else "")


@check(Situation.HOST)
def user_is_in_groups(guest: Guest) -> None:
    """A login shell of the user is in the groups that the host gives it."""
    found = set(login(guest.root, "id --groups --name").split())
    fail_for([f"the user is not in the group {group}" for group in host.GROUPS if group not in found])
