"""What the whole system sees of our packages: apt, dpkg, sudo, polkit, udev, units and alternatives."""

import re
from collections.abc import Callable, Iterator

import pytest

from common.mirror import native_arch
from common.waiting import wait_until
from scripts.bench_apt_repo import make_deb
from tests.debs.conftest import Installed
from tests.debs.guests import DRIVERS, Guest, make_repository

pytestmark = [pytest.mark.root, pytest.mark.lxd, pytest.mark.mirror, pytest.mark.timeout(900)]

BIN = "/opt/google/cros-containers/bin"


def test_sftp_is_checked_first_and_restarted_when_it_fails(guest: Guest) -> None:
    found = guest.root.properties("cros-sftp.service", "Type", "Restart", "ExecStartPre", "ActiveState")
    assert found["Type"] == "notify"
    assert found["Restart"] == "on-failure"
    assert "/usr/sbin/sshd -t -f /dev/.ssh/sshd_config" in found["ExecStartPre"]
    assert found["ActiveState"] == "active"


def test_sudo_asks_for_no_password(guest: Guest) -> None:
    assert guest.login("sudo -n id -un").strip() == "root"
    assert guest.login("sudo -n -u nobody id -un").strip() == "nobody"


def test_fonts_of_the_host(guest: Guest) -> None:
    assert "/mnt/chromeos/fonts/OfTheHost.ttf" in guest.login("fc-list : file")
    shown = guest.sh(
        "findmnt --noheadings --output FSROOT,OPTIONS /usr/share/fonts/chromeos; ls /usr/share/fonts/chromeos"
    )
    assert "/fonts" in shown
    assert re.search(r"\bro\b", shown)
    assert "OfTheHost.ttf" in shown


def test_the_journal_is_kept(guest: Guest) -> None:
    assert guest.sh("stat -c '%a %U:%G' /var/log/journal").strip() == "2755 root:systemd-journal"
    assert guest.sh("find /var/log/journal -name system.journal").strip()
    guest.sh("rm -r /var/log/journal; systemd-tmpfiles --create --prefix=/var/log/journal; test -d /var/log/journal")


def test_the_sockets_for_audit_are_masked(guest: Guest) -> None:
    assert guest.root.systemctl("is-enabled", "systemd-journald-audit.socket").out.strip() == "masked"
    assert guest.root.systemctl("is-active", "systemd-journald-audit.socket").out.strip() != "active"


def test_packages_of_the_label_win(guest: Guest) -> None:
    assert re.search(r"^ +995 file:/mnt/debs/ours", guest.sh("apt-cache policy"), re.MULTILINE)
    assert re.search(r"^ \*\*\* \S+ 995$", guest.sh("apt-cache policy cros-garcon"), re.MULTILINE)


def test_mesa_of_the_label_wins_even_where_it_is_older(installed: Installed, guest: Guest) -> None:
    if guest.kind.release == "bullseye":
        pytest.skip("bullseye has no Mesa of ours")
    place = installed.base.repositories / "mesa"
    make_deb(place, "libgl1-mesa-dri", "0.1", native_arch(), Source="mesa")
    make_repository(place)
    guest.write("/etc/apt/sources.list.d/mesa.list", "deb [trusted=yes] file:/mnt/debs/mesa ./\n")
    guest.apt("update")
    policy = guest.sh("apt-cache policy libgl1-mesa-dri")
    guest.sh("rm /etc/apt/sources.list.d/mesa.list")
    guest.apt("update")
    assert re.search(r"Candidate: 0\.1$", policy, re.MULTILINE)
    assert re.search(r"^ +0\.1 1001$", policy, re.MULTILINE)


def test_sources_that_the_host_writes_are_bound_to_the_keyring(guest: Guest) -> None:
    path = "/etc/apt/sources.list.d/cros.list"
    guest.write(path, "deb https://storage.example/cros-packages/72 bookworm main\n")
    bound = "deb [signed-by=/usr/share/keyrings/cros-archive-keyring.gpg] https://storage.example"
    wait_until(lambda: guest.sh(f"cat {path}").startswith(bound), "cros.list to be bound", timeout=30)
    guest.sh(f"rm {path}")


def test_dpkg_tells_garcon(guest: Guest) -> None:
    trigger = "/usr/share/applications/.garcon_trigger"
    guest.sh(f"touch --date=@1 {trigger}; dpkg --configure -a")
    assert guest.sh(f"stat -c %Y {trigger}").strip() != "1"


@pytest.fixture
def authority(guest: Guest) -> Iterator[Callable[[str, str], bool]]:
    """Ask polkit, with our rules for its own packages alone, whether a unit's process may do something."""
    away = {
        "/usr/share/polkit-1/rules.d/10-cros-nopasswd.rules": "/root/nopasswd.rules",
        "/var/lib/polkit-1/localauthority/10-vendor.d/10-cros-nopasswd.pkla": "/root/nopasswd.pkla",
    }
    guest.write(
        "/usr/share/polkit-1/actions/com.ubuntu.pkexec.synaptic.policy",
        '<policyconfig><action id="com.ubuntu.pkexec.synaptic"><defaults><allow_any>auth_admin</allow_any>'
        "</defaults></action></policyconfig>",
    )

    def ask(action: str, unit: str) -> bool:
        view = guest.user if unit == "cros-garcon.service" else guest.root
        pid = view.properties(unit, "MainPID")["MainPID"]
        return guest.root.run(["pkcheck", "--action-id", action, "--process", pid]).exit_code == 0

    for path, elsewhere in away.items():
        guest.sh(f"[ ! -e {path} ] || mv {path} {elsewhere}")
    guest.sh("systemctl restart polkit.service")
    yield ask
    for path, elsewhere in away.items():
        guest.sh(f"[ ! -e {elsewhere} ] || mv {elsewhere} {path}")
    guest.sh("rm /usr/share/polkit-1/actions/com.ubuntu.pkexec.synaptic.policy; systemctl restart polkit.service")


def test_polkit_lets_group_sudo_install_packages(guest: Guest, authority: Callable[[str, str], bool]) -> None:
    packagekit = "org.freedesktop.packagekit"
    for action in (
        f"{packagekit}.package-install", f"{packagekit}.package-install-untrusted", f"{packagekit}.package-remove",
        f"{packagekit}.system-sources-refresh", "com.ubuntu.pkexec.synaptic",
    ):  # fmt: skip
        assert authority(action, "cros-garcon.service"), action
    assert not authority(f"{packagekit}.package-install-untrusted", "dbus.service")  # whose user is in no group
    assert not authority("org.freedesktop.login1.set-wall-message", "cros-garcon.service")


def test_polkit_lets_group_sudo_do_everything(guest: Guest) -> None:
    garcon = guest.user.properties("cros-garcon.service", "MainPID")["MainPID"]
    bus = guest.root.properties("dbus.service", "MainPID")["MainPID"]
    ask = ["pkcheck", "--action-id", "org.freedesktop.login1.set-wall-message", "--process"]
    assert guest.root.run([*ask, garcon]).exit_code == 0
    assert guest.root.run([*ask, bus]).exit_code != 0


def test_new_users_find_the_settings(guest: Guest) -> None:
    listed = guest.sh("""useradd --create-home second
cat ~second/.config/cros-garcon.conf ~second/.config/weston.ini
test -f ~second/.sommelierrc
userdel --remove second 2>/dev/null""")
    assert "\nDisableAutomaticCrosPackageUpdates=false\n" in listed
    assert "\nDisableAutomaticSecurityUpdates=false\n" in listed
    if "cros-wayland" in guest.ours():
        assert "xwayland=true" in listed


def test_alternatives_are_the_hosts(guest: Guest) -> None:
    assert guest.sh("readlink -f /usr/bin/sommelier").strip() == f"{BIN}/sommelier"
    assert guest.sh("readlink /usr/bin/sommelier.elf").strip() == f"{BIN}/sommelier.elf"
    for name in DRIVERS:
        assert guest.sh(f"readlink -f /usr/lib64/dri/{name}").strip() == f"/opt/google/cros-containers/lib/{name}"


def test_udev_rules(guest: Guest) -> None:
    rules = [
        path
        for path in guest.sh("dpkg-query --listfiles cros-wayland cros-port-listener").split()
        if path.endswith(".rules")
    ]
    assert len(rules) == 2
    if guest.kind.release == "trixie":
        guest.root.get(["udevadm", "verify", *rules])
    ran = guest.root.run(["udevadm", "test", "/sys/class/misc/vsock"])
    said = ran.out + ran.err
    assert "cros-port-listener.service" in said
    assert not re.search(r"10-cros-\S+:\d+.*(nvalid|nknown|rror|gnoring)", said)


def test_units_pass_the_releases_own_check(guest: Guest) -> None:
    units = guest.sh("dpkg-query --listfiles $(dpkg-query --show --showformat='${Package} ' 'cros-*')").split()
    for kind in ("system", "user"):
        names = [
            path.replace("@.", "@0.") for path in sorted(set(units))
            if re.search(rf"/systemd/{kind}/[^/]+\.(service|mount|path)$", path) and "wants" not in path
        ]  # fmt: skip
        view = guest.user if kind == "user" else guest.root
        ran = view.run(["systemd-analyze", "verify", f"--{kind}", "--man=no", *sorted(names)])
        assert [line for line in (ran.out + ran.err).splitlines() if "cros" in line or "sommelier" in line] == []
        assert ran.exit_code == 0, ran.err
