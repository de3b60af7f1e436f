"""The desktop's side: alternatives that lead to the host's programs, links and terminals that open there."""

import shlex

from lxd.checks.base import Guest, Situation, check, fail_for
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
    schemes = [url.split(":")[0] for url in LINKS_TO_OPEN]
    asked = "\n".join(f'echo "$(xdg-mime query default x-scheme-handler/{scheme})"' for scheme in schemes)
    opened = "\n".join(f"xdg-open {shlex.quote(url)} || echo {shlex.quote(url)}" for url in LINKS_TO_OPEN)
    said = login(guest.root, f"{asked}\n{opened}").splitlines()
    wrong = [
        f"links of {scheme} open with {found or 'nothing'}, not {BROWSER}"
        for scheme, found in zip(schemes, said, strict=False)
        if found != BROWSER
    ]
    expected = {url: ["--client", "--url", url] for url in LINKS_TO_OPEN}
    calls = calls_of(guest.user, "garcon", list(expected.values()), before=before)
    wrong += [f"xdg-open {url} ran garcon with {calls!r}" for url, wanted in expected.items() if wanted not in calls]
    fail_for(wrong, details="\n".join(said[len(schemes) :]))
