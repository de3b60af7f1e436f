"""What programs in a container see of our packages: the behaviours that other parts of Chrome OS rely on."""

import re
from collections.abc import Callable, Iterator

import pytest

from common.waiting import wait_until
from lxd import host
from tests.debs.conftest import Installed
from tests.debs.guests import DRIVERS, Guest

pytestmark = [pytest.mark.root, pytest.mark.lxd, pytest.mark.mirror, pytest.mark.timeout(900)]

ODD = ("-x", "a b", 'it\'s "quoted"', "$HOME;*", "", "--", "--client", "ünï")
BIN = "/opt/google/cros-containers/bin"
SESSION = ("cros-garcon", "sommelier@0", "sommelier@1", "sommelier-x@0", "sommelier-x@1", "cros-vmstat-metrics")


@pytest.fixture
def guest(installed: Installed) -> Guest:
    """The guest, whose user manager has started everything."""
    installed.guest.user.wait_running()
    return installed.guest


def calls(guest: Guest, program: str) -> list[list[str]]:
    """The arguments of each call of a host's program by the user."""
    return [
        [str(word) for word in argv]
        for call in guest.user.mock_calls(program)
        if isinstance(argv := call["argv"], list)
    ]


def quoted(*words: str) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)


def environment_of(guest: Guest, unit: str) -> dict[str, str]:
    """The environment of a unit's main process."""
    pid = guest.user.properties(unit, "MainPID")["MainPID"]
    return dict(
        line.split("=", 1) for line in guest.root.get(["cat", f"/proc/{pid}/environ"]).split("\0") if "=" in line
    )


def test_the_users_services_run(guest: Guest) -> None:
    guest.user.check_active([f"{unit}.service" for unit in SESSION])
    assert ["--server"] in calls(guest, "garcon")
    assert calls(guest, "crostini_metric_reporter")[-1] == []
    assert guest.root.mock_calls("port_listener")


def test_what_garcon_gives_the_applications(guest: Guest) -> None:
    found = environment_of(guest, "cros-garcon.service")
    home = f"/home/{host.USER}"
    wanted = {
        "BROWSER": "/usr/bin/garcon-url-handler",
        "NCURSES_NO_UTF8_ACS": "1",
        "QT_AUTO_SCREEN_SCALE_FACTOR": "1",
        "QT_QPA_PLATFORMTHEME": "gtk3",
        "XCURSOR_THEME": "Adwaita",
        "XDG_CONFIG_HOME": f"{home}/.config",
    }
    assert {name: found.get(name) for name in wanted} == wanted
    assert {"/usr/local/bin", "/usr/bin", "/usr/games"} <= set(found["PATH"].split(":"))
    assert {f"{home}/.local/share/flatpak/exports/share", "/var/lib/flatpak/exports/share", "/usr/share"} <= set(
        found["XDG_DATA_DIRS"].split(":")
    )


def test_each_sommelier_has_its_settings(guest: Guest) -> None:
    for unit, scale in (
        ("sommelier@0", "1.0"),
        ("sommelier@1", "0.5"),
        ("sommelier-x@0", "1.0"),
        ("sommelier-x@1", "0.5"),
    ):
        found = environment_of(guest, f"{unit}.service")
        assert found["SOMMELIER_SCALE"] == scale
        assert found["SOMMELIER_ACCELERATORS"] == "Super_L,<Alt>bracketleft,<Alt>bracketright"
        assert ("SOMMELIER_FRAME_COLOR" in found) == unit.startswith("sommelier-x")
        assert found.get("SOMMELIER_DPI") == ("72,96,160,240,320,480" if unit.endswith("1") else None)
    argv = calls(guest, "sommelier")
    assert {words[2] for words in argv if "--parent" in words} >= {"--socket=wayland-0", "--socket=wayland-1"}
    assert {words[1] for words in argv if "-X" in words} >= {"--x-display=0", "--x-display=1"}


def test_login_shells_know_the_displays(guest: Guest) -> None:
    names = ("DISPLAY", "WAYLAND_DISPLAY", "XCURSOR_SIZE", "DISPLAY_LOW_DENSITY", "WAYLAND_DISPLAY_LOW_DENSITY",
             "XCURSOR_SIZE_LOW_DENSITY")  # fmt: skip
    ask = "env"

    def seen() -> dict[str, str]:
        return dict(line.split("=", 1) for line in guest.login(ask).splitlines() if line.startswith(names))

    wanted = dict(zip(names, (":0", "wayland-0", "24", ":1", "wayland-1", "24"), strict=True))
    # sommelier says that it is ready before it announces its display.
    wait_until(lambda: len(seen()) == len(names), "the displays to be announced", timeout=30)
    assert seen() == wanted


def test_x_clients_have_a_cookie(guest: Guest) -> None:
    if not guest.kind.full:
        pytest.skip("xauth is only recommended")
    listed = guest.login("xauth -n list; stat -c %a ~/.Xauthority")
    assert {line.split()[0].rsplit(":", 1)[-1] for line in listed.splitlines() if "MIT-MAGIC-COOKIE-1" in line} == {
        "0",
        "1",
    }
    assert listed.splitlines()[-1] == "600"


def test_sommelierrc_sets_the_fonts_size_and_runs_the_users_own(guest: Guest) -> None:
    guest.login("""mkdir -p ~/fake; cd ~/fake
printf '#!/bin/sh\\necho "  resolution:    144x144 dots per inch"\\n' >xdpyinfo
printf '#!/bin/sh\\necho "xrdb $* $(cat)"\\n' >xrdb
printf '#!/bin/sh\\necho "xsetroot $*"\\n' >xsetroot
chmod +x *
echo 'echo the users own' >~/.sommelierrc""")
    said = guest.login("PATH=~/fake:$PATH sh /etc/sommelierrc").splitlines()
    guest.login("rm -r ~/fake; cp /etc/skel/.sommelierrc ~")
    assert said == ["xrdb -merge Xft.dpi: 144", "xsetroot -cursor_name left_ptr", "the users own"]


@pytest.mark.parametrize(
    ("program", "option"),
    [
        ("x-www-browser", "--url"),
        ("www-browser", "--url"),
        ("gnome-www-browser", "--url"),
        ("garcon-url-handler", "--url"),
        ("x-terminal-emulator", "--terminal"),
        ("garcon-terminal-handler", "--terminal"),
    ],
)
def test_handlers_run_the_hosts_program_with_the_arguments_given(guest: Guest, program: str, option: str) -> None:
    guest.login(f"{program} {quoted(*ODD)}")
    assert calls(guest, "garcon")[-1] == ["--client", option, *ODD]


@pytest.mark.parametrize(
    "url", ["https://example.org/?a=b&c='d'", "http://example.org", "ftp://example.org/x", "mailto:a@b.c"]
)
def test_links_open_in_the_hosts_browser(guest: Guest, url: str) -> None:
    scheme = url.split(":")[0]
    assert guest.login(f"xdg-mime query default x-scheme-handler/{scheme}").strip() == "garcon_host_browser.desktop"
    guest.login(f"xdg-open {quoted(url)}")
    assert calls(guest, "garcon")[-1] == ["--client", "--url", url]


def test_sudo_asks_for_no_password(guest: Guest) -> None:
    assert guest.login("sudo -n id -un").strip() == "root"
    assert guest.login("sudo -n -u nobody id -un").strip() == "nobody"


def test_the_message_of_the_day_is_shown_a_few_times(guest: Guest) -> None:
    terminal = [
        "script",
        "--quiet",
        "--return",
        "--command",
        f"runuser --login {host.USER} --command true",
        "/dev/null",
    ]

    def shown() -> bool:
        return "Debian in a container of Chrome OS" in guest.root.get(terminal)

    guest.login("rm -f ~/.local/share/cros-motd")
    assert [shown() for _ in range(6)] == [True] * 5 + [False]
    guest.login("rm ~/.local/share/cros-motd; touch ~/.local/share/cros-motd.disable")
    assert not shown()
    guest.login("rm ~/.local/share/cros-motd.disable")


def test_settings_of_the_desktop(guest: Guest) -> None:
    for key, value in {
        "interface/gtk-theme": "'CrosAdapta'",
        "interface/icon-theme": "'CrosAdapta'",
        "interface/font-name": "'Roboto 10'",
        "interface/monospace-font-name": "'Cousine 10'",
        "interface/document-font-name": "'Noto Sans 10'",
        "wm/preferences/button-layout": "':minimize,maximize,close'",
    }.items():
        assert guest.login(f"dconf read /org/gnome/desktop/{key}").strip() == value
    guest.login("dconf write /org/gnome/desktop/interface/gtk-theme \"'Mine'\"")
    assert guest.login("dconf read /org/gnome/desktop/interface/gtk-theme").strip() == "'Mine'"
    guest.login("dconf reset /org/gnome/desktop/interface/gtk-theme")
    assert guest.sh("readlink /usr/share/themes/CrosAdapta").strip() == "/opt/google/cros-containers/cros-adapta"
    for path in ("/etc/gtk-2.0/gtkrc", "/etc/gtk-3.0/settings.ini"):
        assert re.search(r"gtk-theme-name = \"?CrosAdapta", guest.sh(f"cat {path}"))


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
        "/usr/share/polkit-1/rules.d/10-cros-nopasswd.rules": "/root/nopasswd",
        "/var/lib/polkit-1/localauthority/10-vendor.d/10-cros-nopasswd.pkla": "/root/nopasswd",
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
        guest.sh(f"[ ! -d {path.rsplit('/', 1)[0]} ] || [ ! -e {elsewhere} ] || mv {elsewhere} {path}")
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


def test_notifications_start_the_hosts_server(guest: Guest) -> None:
    if not guest.kind.full:
        pytest.skip("dbus-user-session is only recommended")
    name = "org.freedesktop.Notifications"
    bus = "org.freedesktop.DBus"
    # The mock takes no name on the bus, so the call itself does not come back in time.
    guest.user.run(["busctl", "--user", "--timeout=1", "call", bus, "/", bus, "StartServiceByName", "su", name, "0"])
    wanted = [["--virtwl_device=/dev/wl0"]]
    wait_until(lambda: calls(guest, "notificationd")[-1:] == wanted, "notificationd to be started", timeout=30)
    assert guest.user.properties("cros-notificationd.service", "Restart") == {"Restart": "always"}
    guest.user.systemctl("stop", "cros-notificationd.service")


def test_new_users_find_the_settings(guest: Guest) -> None:
    listed = guest.sh("""useradd --create-home second
cat ~second/.config/cros-garcon.conf ~second/.config/weston.ini
test -f ~second/.sommelierrc
userdel --remove second 2>/dev/null""")
    assert "\nDisableAutomaticCrosPackageUpdates=false\n" in listed
    assert "\nDisableAutomaticSecurityUpdates=false\n" in listed
    if "cros-wayland" in guest.ours():
        assert "xwayland=true" in listed


def test_sound_has_little_delay(guest: Guest) -> None:
    if "cros-pipe-config" in guest.ours():
        known = guest.user.get(["pw-metadata", "-n", "settings", "0"])
        assert re.search(r"key:'clock.quantum' value:'1024'", known)
        assert re.search(r"key:'clock.min-quantum' value:'1024'", known)
        assert re.search(r"key:'clock.rate' value:'48000'", known)
    if "cros-pulse-config" in guest.ours():
        known = guest.login("pulseaudio --dump-conf")
        assert "default-fragments = 4" in known
        assert "default-fragment-size-msec = 20" in known
        assert "tsched=0" in guest.sh("cat /etc/pulse/default.pa")


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
    said = guest.root.run(["udevadm", "test", "/sys/class/misc/vsock"])
    assert "cros-port-listener.service" in said.out + said.err


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


def test_ansible_reports_to_garcon(guest: Guest) -> None:
    if not guest.root.run(["which", "ansible-playbook"]).out:
        pytest.skip("there is no ansible in this container")
    guest.write(
        "/tmp/play.yml",
        "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n"
        "  - command: echo done\n"
        "  - command: 'true'\n    when: false\n"
        "  - command: 'false'\n",
    )
    said = guest.login(
        "export ANSIBLE_STDOUT_CALLBACK=garcon ANSIBLE_DEPRECATION_WARNINGS=1; "
        "ansible-playbook -i localhost, /tmp/play.yml 2>&1 || :",
        timeout=120,
    )
    told = [line for line in said.splitlines() if line.startswith("MESSAGE TO GARCON: ")]
    assert told == [f"MESSAGE TO GARCON: TASK_{word}" for word in ("OK", "SKIPPED", "FAILED")], said
    assert "DEPRECATION" not in said
