"""What the user's session sees of our packages: the behaviours that other parts of Chrome OS rely on."""

import re
import shlex

import pytest

from common.waiting import wait_until
from lxd import host
from tests.debs.guests import Guest

pytestmark = [pytest.mark.root, pytest.mark.lxd, pytest.mark.mirror, pytest.mark.timeout(900)]

ODD = ("-x", "a b", 'it\'s "quoted"', "$HOME;*", "", "--", "--client", "ünï")
SESSION = ("cros-garcon", "sommelier@0", "sommelier@1", "sommelier-x@0", "sommelier-x@1", "cros-vmstat-metrics")


def environment_of(guest: Guest, unit: str) -> dict[str, str]:
    """The environment of a unit's main process."""
    pid = guest.user.properties(unit, "MainPID")["MainPID"]
    return dict(
        line.split("=", 1) for line in guest.root.get(["cat", f"/proc/{pid}/environ"]).split("\0") if "=" in line
    )


def test_the_users_services_run(guest: Guest) -> None:
    guest.user.check_active([f"{unit}.service" for unit in SESSION])
    assert ["--server"] in guest.calls("garcon")
    assert guest.calls("crostini_metric_reporter")[-1] == []
    assert guest.root.mock_calls("port_listener")


@pytest.mark.parametrize(("unit", "named"), [("cros-garcon", "cros-garcon"), ("sommelier-x@1", "sommelier-x")])
def test_a_service_that_dies_is_reported_and_comes_back(guest: Guest, unit: str, named: str) -> None:
    service = f"{unit}.service"
    pid = guest.user.properties(service, "MainPID")["MainPID"]
    guest.root.get(["kill", "-KILL", pid])

    def back() -> bool:
        found = guest.user.properties(service, "ActiveState", "MainPID")
        return found["ActiveState"] == "active" and found["MainPID"] not in ("0", pid)

    wait_until(back, f"{service} to come back", timeout=30)
    assert guest.calls("guest_service_failure_notifier")[-1] == [named]
    guest.user.systemctl("restart", service)  # and it counts its restarts anew


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
    argv = guest.calls("sommelier")
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
    guest.login(f"{program} {shlex.join(ODD)}")
    assert guest.calls("garcon")[-1] == ["--client", option, *ODD]


@pytest.mark.parametrize(
    "url", ["https://example.org/?a=b&c='d'", "http://example.org", "ftp://example.org/x", "mailto:a@b.c"]
)
def test_links_open_in_the_hosts_browser(guest: Guest, url: str) -> None:
    scheme = url.split(":")[0]
    assert guest.login(f"xdg-mime query default x-scheme-handler/{scheme}").strip() == "garcon_host_browser.desktop"
    guest.login(f"xdg-open {shlex.quote(url)}")
    assert guest.calls("garcon")[-1] == ["--client", "--url", url]


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


def test_notifications_start_the_hosts_server(guest: Guest) -> None:
    if not guest.kind.full:
        pytest.skip("dbus-user-session is only recommended")
    name = "org.freedesktop.Notifications"
    bus = "org.freedesktop.DBus"
    # The mock takes no name on the bus, so the call itself does not come back in time.
    guest.user.run(["busctl", "--user", "--timeout=1", "call", bus, "/", bus, "StartServiceByName", "su", name, "0"])
    wanted = [["--virtwl_device=/dev/wl0"]]
    wait_until(lambda: guest.calls("notificationd")[-1:] == wanted, "notificationd to be started", timeout=30)
    assert guest.user.properties("cros-notificationd.service", "Restart") == {"Restart": "always"}
    guest.user.systemctl("stop", "cros-notificationd.service")


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


def test_ansible_reports_to_garcon(guest: Guest) -> None:
    if not guest.root.run(["which", "ansible-playbook"]).out:
        pytest.skip("only the full containers have ansible")
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
