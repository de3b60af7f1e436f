"""Stand-ins of the original's 0.x packages: their names, paths, conffiles and maintainer scripts' effects."""

from dataclasses import dataclass, field
from pathlib import Path

from common import tools

_UNIT = "usr/lib/systemd/user/cros-garcon.service"
_DIVERT = """\
for file in daemon.conf default.pa; do
    dpkg-divert --package cros-pulse-config --divert /etc/pulse/$file.distrib --rename /etc/pulse/$file
    ln -sf /usr/share/cros-pulse-config/$file /etc/pulse
done
"""
_UNDIVERT = """\
for file in daemon.conf default.pa; do
    rm -f /etc/pulse/$file
    dpkg-divert --package cros-pulse-config --rename --remove /etc/pulse/$file
done
"""
_ENABLE = """\
mkdir -p /etc/systemd/user/default.target.wants
for number in 0 1; do
    for unit in sommelier sommelier-x; do
        ln -sf /usr/lib/systemd/user/$unit@.service /etc/systemd/user/default.target.wants/$unit@$number.service
    done
done
"""
_ALTERNATIVES = """\
update-alternatives --install /usr/bin/x-www-browser x-www-browser /usr/bin/garcon-url-handler 200
update-alternatives --install /usr/bin/x-terminal-emulator x-terminal-emulator /usr/bin/garcon-terminal-handler 200
"""


@dataclass(frozen=True)
class Original:
    """One package: path -> content (`-> target` makes a link), its conffiles and scripts."""

    name: str
    version: str
    files: dict[str, str]
    conffiles: tuple[str, ...] = ()
    scripts: dict[str, str] = field(default_factory=dict)


ORIGINALS = (
    Original(
        "cros-apt-config",
        "0.31",
        {"etc/apt/trusted.gpg.d/cros.gpg": "keys", "etc/apt/preferences.d/cros.pref": "Package: *\n"},
    ),
    Original(
        "cros-garcon",
        "0.28",
        {
            _UNIT: "[Service]\nExecStart=/bin/true\n",
            "usr/lib/systemd/user/default.target.wants/cros-garcon.service": f"-> /{_UNIT}",
            "usr/bin/garcon-url-handler": "#!/bin/sh\n",
            "usr/bin/garcon-terminal-handler": "#!/bin/sh\n",
            "etc/skel/.config/cros-garcon.conf": "DisableAutomaticCrosPackageUpdates=false\n",
            "etc/systemd/user/cros-garcon.service.d/cros-garcon-override.conf": "[Service]\n",
        },
        ("/etc/skel/.config/cros-garcon.conf", "/etc/systemd/user/cros-garcon.service.d/cros-garcon-override.conf"),
        {"postinst": _ALTERNATIVES},
    ),
    Original(
        "cros-logging",
        "0.1",
        {"etc/tmpfiles.d/00-create-logs-dir.conf": "d /var/log/journal\n"},
        ("/etc/tmpfiles.d/00-create-logs-dir.conf",),
    ),
    Original(
        "cros-pulse-config",
        "0.2",
        {"usr/share/cros-pulse-config/daemon.conf": "\n", "usr/share/cros-pulse-config/default.pa": "\n"},
        scripts={"postinst": _DIVERT, "prerm": _UNDIVERT},
    ),
    Original("cros-sommelier-config", "0.17", {}, scripts={"postinst": _ENABLE}),
    Original(
        "cros-systemd-overrides",
        "0.11",
        {},
        scripts={
            "postinst": "ln -sf /dev/null /etc/systemd/system/systemd-journald-audit.socket\n",
            "prerm": "rm -f /etc/systemd/system/systemd-journald-audit.socket\n",
        },
    ),
)


def make(original: Original, out: Path) -> Path:
    """Build one with dpkg-deb."""
    tree = out / f"{original.name}.tree"
    for path, content in original.files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if content.startswith("-> "):
            target.symlink_to(content.removeprefix("-> "))
        else:
            target.write_text(content)
            target.chmod(0o755 if path.startswith("usr/bin/") else 0o644)
    control = tree / "DEBIAN"
    control.mkdir(parents=True, exist_ok=True)
    (control / "control").write_text(
        f"Package: {original.name}\nVersion: {original.version}\nArchitecture: all\n"
        "Maintainer: Nobody <nobody@example.org>\nDescription: stand-in\n"
    )
    if original.conffiles:
        (control / "conffiles").write_text("".join(f"{path}\n" for path in original.conffiles))
    for name, text in original.scripts.items():
        (control / name).write_text(f"#!/bin/sh\n{text}")
        (control / name).chmod(0o755)
    deb = out / f"{original.name}_{original.version}_all.deb"
    tools.capture(["dpkg-deb", "--build", "--root-owner-group", tree, deb])
    return deb
