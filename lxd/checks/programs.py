"""What the image types `test` and `app_test` have on top: programs that the Tests of Chrome OS (Tast) run inside."""

from lxd.about import APP_TEST, TEST
from lxd.apps import ARCH, load_apps
from lxd.checks.base import Guest, Situation, check, fail_for

# Each does a small piece of work where that is possible without a display, a sound card or a network.
PROGRAMS = {
    "aplay": "aplay --version",
    "apitrace": "apitrace help | grep --quiet dump",
    "busybox": "echo one | busybox grep -q one",
    "fio": "fio --name=check --filename=$place/fio --size=64k --bs=4k --rw=write --output-format=json",
    "iperf3": "iperf3 --version",
    "ping": "ping -c 1 -W 20 127.0.0.1",
    "glxinfo": "glxinfo -h",
    "make": "printf 'all:\\n\\techo made >made\\n' >Makefile; make --silent; test -s made",
    "zstd": "echo one | zstd --quiet | zstd --decompress --quiet | grep --quiet one",
}
# Installed where a release, or our repository, has them.
WHERE_FOUND = {
    # Without ENOUGH (microseconds) it first finds out how long it has to measure: up to a minute where others are busy.
    "lmbench": "ENOUGH=5000 /usr/lib/lmbench/bin/*/lat_syscall null",
    "glbench": "test -x $(dpkg --listfiles glbench | grep /glbench$)",
}
TOOLKITS = {
    "GTK 3": "import gi; gi.require_version('Gtk', '3.0'); from gi.repository import Gtk",
    "Qt 5": "from PyQt5 import QtCore, QtWidgets; assert QtCore.QT_VERSION >> 16 == 5",
    "Tk": "import tkinter; assert tkinter.Tcl().eval('expr 6 * 7') == '42'",
}
_HELLO = """
#include <curses.h>
#include <stdio.h>
int main(void) { puts(curses_version()); return 0; }
"""
APPLICATIONS = {
    "emacs": "emacs --batch --eval '(princ (* 6 7))' | grep --quiet 42",
    "gedit": "gedit --version",
    "java": "java -version",
    "keytool": "keytool -list -cacerts -storepass changeit | grep --quiet trustedCertEntry",
}
# As Tast runs them: as nobody in particular, in a directory of their own, from a home that can be written to.
_PLACE = "place=$(mktemp -d); trap 'rm -r $place' EXIT; cd $place; export HOME=$place\n"


def _broken(guest: Guest, programs: dict[str, str]) -> tuple[list[str], str]:
    """The programs that end with an error, and what they say."""
    answers = guest.root.ask({name: f"set -e\n{_PLACE}{script}" for name, script in programs.items()}, timeout=120)
    broken = {name: answer for name, answer in answers.items() if answer.exit_code != 0}
    said = "\n".join(f"{name}: {(answer.err or answer.out).strip()}" for name, answer in broken.items())
    return [f"{name} does not work" for name in broken], said


@check(Situation.BARE, types=[TEST, APP_TEST])
def tast_programs_work(guest: Guest) -> None:
    """The programs that Tast runs for sound, graphics, disk, network and archives work."""
    listed = guest.root.get(["dpkg-query", "--show", "--showformat=${Package}\\n"]).split()
    optional = {name: script for name, script in WHERE_FOUND.items() if name in listed}
    wrong, details = _broken(guest, PROGRAMS | optional)
    fail_for(wrong, details=details)


@check(Situation.BARE, types=[TEST, APP_TEST])
def python_has_toolkits(guest: Guest) -> None:
    """Python 3 has GTK 3, Qt 5 and Tk."""
    wrong, details = _broken(guest, {name: f'python3 -c "{script}"' for name, script in TOOLKITS.items()})
    fail_for(wrong, details=details)


@check(Situation.BARE, types=[TEST, APP_TEST])
def c_programs_are_built(guest: Guest) -> None:
    """gcc builds a program that uses ncurses, and it runs."""
    script = f"cat >hello.c <<'END'\n{_HELLO}END\ngcc -o hello hello.c -lncurses\n./hello | grep --quiet ncurses"
    wrong, details = _broken(guest, {"gcc with ncurses": script})
    fail_for(wrong, details=details)


@check(Situation.BARE, types=[TEST, APP_TEST])
def samba_has_its_workgroup(guest: Guest) -> None:
    """Samba's workgroup is WORKGROUP."""
    ran = guest.root.run(["testparm", "--suppress-prompt", "--parameter-name=workgroup"])
    found = ran.out.strip()
    fail_for([] if found == "WORKGROUP" else [f"samba's workgroup is {found!r}, not 'WORKGROUP'"], details=ran.err)


@check(Situation.BARE, types=[APP_TEST])
def applications_work(guest: Guest) -> None:
    """emacs, gedit and Java work, and Java has certificates."""
    wrong, details = _broken(guest, APPLICATIONS)
    fail_for(wrong, details=details)


def _other_arch(guest: Guest) -> str:
    return "" if guest.about.arch in ("", ARCH) else f"there are none for {guest.about.arch}"


@check(Situation.BARE, types=[APP_TEST], lacking=_other_arch)
def third_party_applications_are_there(guest: Guest) -> None:
    """The applications of lxd/apps.toml are where they should be, and their links lead to them (amd64 only)."""
    questions = {}
    for app in load_apps():
        questions[str(app.folder / app.program)] = f"test -x {app.folder / app.program}"
        for link, target in app.links.items():
            questions[str(link)] = f"test {link} -ef {app.folder / target}"
    answers = guest.root.ask(questions)
    fail_for([f"{path} is missing or leads elsewhere" for path, answer in answers.items() if answer.exit_code != 0])
