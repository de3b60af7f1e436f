"""The desktop's side: alternatives, links and terminals that lead to the host; looks, fonts, sound, notifications."""

import re
import shlex

from lxd import host
from lxd.checks.base import Guest, Situation, check, difference, fail_for
from lxd.checks.session import calls_of, login

_HOST = "/opt/google/cros-containers"
_URL, _TERMINAL = "/usr/bin/garcon-url-handler", "/usr/bin/garcon-terminal-handler"
# Name -> (the link that programs use, what it leads to).
ALTERNATIVES = {
    "sommelier": ("/usr/bin/sommelier", f"{_HOST}/bin/sommelier"),
    "swrast_dri": ("/usr/lib64/dri/swrast_dri.so", f"{_HOST}/lib/swrast_dri.so"),
    "virtio_gpu_dri": ("/usr/lib64/dri/virtio_gpu_dri.so", f"{_HOST}/lib/virtio_gpu_dri.so"),
    "x-www-browser": ("/usr/bin/x-www-browser", _URL),
    "www-browser": ("/usr/bin/www-browser", _URL),
    "gnome-www-browser": ("/usr/bin/gnome-www-browser", _URL),
    "x-terminal-emulator": ("/usr/bin/x-terminal-emulator", _TERMINAL),
}
LINKS = {
    "/usr/bin/sommelier.elf": f"{_HOST}/bin/sommelier.elf",
    "/usr/share/themes/CrosAdapta": f"{_HOST}/cros-adapta",
}
# Words that a handler must not take apart, or for options of its own.
ODD = ("-x", "a b", 'it\'s "quoted"', "$HOME;*", "", "--", "--client", "ünï")
HANDLERS = {
    "x-www-browser": "--url",
    "www-browser": "--url",
    "gnome-www-browser": "--url",
    "garcon-url-handler": "--url",
    "x-terminal-emulator": "--terminal",
    "garcon-terminal-handler": "--terminal",
}
LINKS_TO_OPEN = ("https://example.org/?a=b&c='d'", "http://example.org", "ftp://example.org/x", "mailto:a@b.c")
BROWSER = "garcon_host_browser.desktop"
# Keys below /org/gnome/desktop, as dconf prints them.
DCONF = {
    "interface/gtk-theme": "'CrosAdapta'",
    "interface/icon-theme": "'CrosAdapta'",
    "interface/font-name": "'Roboto 10'",
    "interface/monospace-font-name": "'Cousine 10'",
    "interface/document-font-name": "'Noto Sans 10'",
    "wm/preferences/button-layout": "':minimize,maximize,close'",
}
GTK_SETTINGS = ("/etc/gtk-2.0/gtkrc", "/etc/gtk-3.0/settings.ini")
# PipeWire's settings in frames, at this rate in Hz; PulseAudio's fragments.
CLOCK = {"clock.rate": "48000", "clock.quantum": "1024", "clock.min-quantum": "1024"}
FRAGMENTS = {"default-fragments": "4", "default-fragment-size-msec": "20"}


@check(Situation.BARE)
def alternatives(guest: Guest) -> None:
    """Browser, terminal, sommelier and the graphics drivers are alternatives that lead to the host's."""
    links = {link: f"/etc/alternatives/{name}" for name, (link, _) in ALTERNATIVES.items()}
    links |= {f"/etc/alternatives/{name}": target for name, (_, target) in ALTERNATIVES.items()} | LINKS
    answers = guest.root.ask(
        {
            "links": f"for link in {shlex.join(links)}; do readlink $link || echo nothing; done",
            "known": "update-alternatives --get-selections",
        }
    )
    wrong = [
        f"{link} leads to {found}, not to {wanted}"
        for (link, wanted), found in zip(links.items(), answers["links"].out.splitlines(), strict=True)
        if found != wanted
    ]
    known = {words[0]: words[2] for line in answers["known"].out.splitlines() if len(words := line.split()) == 3}
    wrong += [
        f"update-alternatives knows {known.get(name, 'nothing')} as {name}, not {target}"
        for name, (_, target) in ALTERNATIVES.items()
        if known.get(name) != target
    ]
    fail_for(wrong, hint="cros-garcon and cros-sommelier-config register them")


@check(Situation.HOST)
def handlers(guest: Guest) -> None:
    """The browser's and the terminal's names run the host's garcon with exactly the arguments given."""
    before = len(guest.user.mock_calls("garcon"))
    script = "\n".join(f"{program} {shlex.join((program, *ODD))} || echo {program}" for program in HANDLERS)
    failed = login(guest.root, script).split()
    expected = {program: ["--client", option, program, *ODD] for program, option in HANDLERS.items()}
    calls = calls_of(guest.user, "garcon", list(expected.values()), before=before)
    wrong = [f"{program} ended with an error" for program in failed]
    for program, wanted in expected.items():
        if wanted not in calls:
            seen = next((argv for argv in calls if program in argv), None)
            wrong.append(f"{program} ran garcon with {seen!r}, not {wanted!r}")
    fail_for(wrong)


@check(Situation.HOST)
def links_open_on_the_host(guest: Guest) -> None:
    """xdg-open hands http, https, ftp and mailto links to the host's browser, as they are."""
    before = len(guest.user.mock_calls("garcon"))
    # app_test has emacs, which takes mail for itself.
    links = [url for url in LINKS_TO_OPEN if guest.about.type != "app_test" or not url.startswith("mailto:")]
    schemes = [url.split(":")[0] for url in links]
    asked = "\n".join(f'echo "$(xdg-mime query default x-scheme-handler/{scheme})"' for scheme in schemes)
    opened = "\n".join(f"xdg-open {shlex.quote(url)} || echo {shlex.quote(url)}" for url in links)
    said = login(guest.root, f"{asked}\n{opened}").splitlines()
    wrong = [
        f"links of {scheme} open with {found or 'nothing'}, not {BROWSER}"
        for scheme, found in zip(schemes, said, strict=False)
        if found != BROWSER
    ]
    expected = {url: ["--client", "--url", url] for url in links}
    calls = calls_of(guest.user, "garcon", list(expected.values()), before=before)
    wrong += [f"xdg-open {url} ran garcon with {calls!r}" for url, wanted in expected.items() if wanted not in calls]
    fail_for(wrong, details="\n".join(said[len(schemes) :]))


@check(Situation.HOST)
def notifications_start_the_server(guest: Guest) -> None:
    """Who asks D-Bus for the notification server gets the host's started."""
    name, bus, unit = "org.freedesktop.Notifications", "org.freedesktop.DBus", "cros-notificationd.service"
    before = len(guest.user.mock_calls("notificationd"))
    # The mock takes no name on the bus, so the call itself ends with an error.
    call = ["busctl", "--user", "--timeout=1", "call", bus, "/", bus, "StartServiceByName", "su", name, "0"]
    said = guest.user.run(call).err
    wanted = ["--virtwl_device=/dev/wl0"]
    calls = calls_of(guest.user, "notificationd", [wanted], before=before)
    journal = guest.user.journal(unit) if wanted not in calls else ""
    guest.user.systemctl("stop", unit)
    guest.user.systemctl("reset-failed", unit)
    fail_for(
        [] if wanted in calls else [f"notificationd was started with {calls!r}, not {wanted!r}"], details=said + journal
    )


@check(Situation.HOST)
def desktop_looks_like_the_hosts(guest: Guest) -> None:
    """Theme, icons, fonts and window buttons are Chrome OS's, for GTK and through dconf."""
    keys = "\n".join(f'echo "$(dconf read /org/gnome/desktop/{key})"' for key in DCONF)
    files = "\n".join(f"grep --quiet gtk-theme-name.*CrosAdapta {path} || echo {path}" for path in GTK_SETTINGS)
    said = login(guest.root, f"{keys}\n{files}").splitlines()
    found = dict(zip(DCONF, said, strict=False))
    fail_for([*difference(found, DCONF), *(f"{path} does not name CrosAdapta" for path in said[len(DCONF) :])])


@check(Situation.HOST)
def fonts_are_the_hosts_too(guest: Guest) -> None:
    """The fonts that the host shares are under /usr/share/fonts, and fontconfig looks for them."""
    place = "/usr/share/fonts/chromeos"
    answers = guest.root.ask({"mounted": f"ls {place}/{host.FONT}", "known": "fc-conflist"})
    wrong = [] if answers["mounted"].exit_code == 0 else [f"{place} does not have the host's fonts"]
    if not any(
        line.startswith("+ /etc/fonts/conf.d/05-cros-fonts.conf:") for line in answers["known"].out.splitlines()
    ):
        wrong.append("fontconfig does not read /etc/fonts/conf.d/05-cros-fonts.conf")
    fail_for(wrong, details=guest.root.journal("usr-share-fonts-chromeos.mount") if wrong else "")


@check(Situation.HOST, releases=["bookworm", "trixie"])
def sound_has_little_delay(guest: Guest) -> None:
    """PipeWire runs in the user's session, with the small buffers of cros-pipe-config."""
    guest.user.check_active(["pipewire.service", "wireplumber.service"])
    said = guest.user.run(["pw-metadata", "-n", "settings", "0"])
    found = dict(re.findall(r"key:'(clock\.[a-z-]+)' value:'(\d+)'", said.out))
    fail_for(difference(found, CLOCK), details=said.err)


@check(Situation.HOST, releases=["bullseye"])
def sound_has_small_fragments(guest: Guest) -> None:
    """PulseAudio has the settings of cros-pulse-config."""
    said = login(guest.root, "pulseaudio --dump-conf")
    found = dict(line.split(" = ", 1) for line in said.splitlines() if " = " in line)
    fail_for(difference(found, FRAGMENTS))
