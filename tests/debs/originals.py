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
_HOST = "/opt/google/cros-containers"
_SOMMELIER = f"""\
update-alternatives --install /usr/bin/sommelier sommelier {_HOST}/bin/sommelier 1 || :
mkdir -p /usr/lib64/dri
update-alternatives --install /usr/lib64/dri/swrast_dri.so swrast_dri {_HOST}/lib/swrast_dri.so 1 || :
"""
_NO_SOMMELIER = f"""\
update-alternatives --remove sommelier {_HOST}/bin/sommelier
update-alternatives --remove swrast_dri {_HOST}/lib/swrast_dri.so
"""
_ALTERNATIVES = """\
update-alternatives --install /usr/bin/x-www-browser x-www-browser /usr/bin/garcon-url-handler 200
update-alternatives --install /usr/bin/x-terminal-emulator x-terminal-emulator /usr/bin/garcon-terminal-handler 200
"""
_NO_ALTERNATIVES = """\
update-alternatives --remove x-www-browser /usr/bin/garcon-url-handler
update-alternatives --remove x-terminal-emulator /usr/bin/garcon-terminal-handler
"""
_POLKIT = "var/lib/polkit-1/localauthority"


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
            "etc/dpkg/dpkg.cfg.d/garcon-hook": "# a hook\n",
            f"{_POLKIT}/50-local.d/garcon-packagekit.pkla": "\n",
            f"{_POLKIT}/50-local.d/garcon-synaptic.pkla": "\n",
        },
        ("/etc/skel/.config/cros-garcon.conf", "/etc/systemd/user/cros-garcon.service.d/cros-garcon-override.conf"),
        {"postinst": _ALTERNATIVES, "prerm": _NO_ALTERNATIVES},
    ),
    Original(
        "cros-gpu",
        "0.24",
        {
            "etc/apt/trusted.gpg.d/llvm-snapshot.gpg": "",
            "etc/apt/sources.list.d/cros-gpu.list": "# another repository\n",
            "etc/apt/preferences.d/cros-gpu.pref": "Package: mesa\nPin: release a=none\nPin-Priority: 1\n",
        },
    ),
    Original("cros-guest-tools", "0.42", {}),
    Original(
        "cros-host-fonts",
        "0.4",
        {
            "usr/lib/systemd/system/usr-share-fonts-chromeos.mount": (
                "[Mount]\nWhat=/mnt/chromeos/fonts\nWhere=/usr/share/fonts/chromeos\nOptions=bind\n"
            ),
            "usr/share/fonts/chromeos/.keep": "",
        },
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
    Original(
        "cros-notificationd",
        "0.11",
        {"usr/share/dbus-1/services/org.freedesktop.Notifications.service": "[D-BUS Service]\n"},
    ),
    Original(
        "cros-sftp",
        "0.14",
        {
            "usr/lib/systemd/system/cros-sftp.service": (
                "[Service]\nExecStart=/usr/sbin/sshd -D -f /dev/.ssh/sshd_config\n"
            ),
            "usr/lib/systemd/system/default.target.wants/cros-sftp.service": (
                "-> /usr/lib/systemd/system/cros-sftp.service"
            ),
        },
    ),
    Original(
        "cros-sommelier",
        "0.31",
        {
            "usr/bin/sommelier.elf": f"-> {_HOST}/bin/sommelier.elf",
            "usr/lib/systemd/user/sommelier@.service": "[Service]\nExecStart=/bin/sleep infinity\n",
            "usr/lib/systemd/user/sommelier-x@.service": "[Service]\nExecStart=/bin/sleep infinity\n",
            "etc/sommelierrc": "# once sourced\n",
            "etc/profile.d/sommelier.sh": "# once sourced\n",
            "etc/skel/.sommelierrc": "\n",
        },
        ("/etc/sommelierrc", "/etc/profile.d/sommelier.sh", "/etc/skel/.sommelierrc"),
    ),
    Original(
        "cros-sommelier-config",
        "0.17",
        {
            f"etc/systemd/user/sommelier@{number}.service.d/cros-sommelier-override.conf": "[Service]\n"
            for number in "01"
        },
        tuple(f"/etc/systemd/user/sommelier@{number}.service.d/cros-sommelier-override.conf" for number in "01"),
        {"postinst": _ENABLE + _SOMMELIER, "prerm": _NO_SOMMELIER},
    ),
    Original(
        "cros-sudo-config",
        "0.11",
        {
            "etc/sudoers.d/10-cros-nopasswd": "%sudo ALL=(ALL:ALL) NOPASSWD: ALL\n",
            f"{_POLKIT}/10-vendor.d/10-cros-nopasswd.pkla": "\n",
        },
        ("/etc/sudoers.d/10-cros-nopasswd",),
    ),
    Original(
        "cros-systemd-overrides",
        "0.11",
        {},
        scripts={
            "postinst": "ln -sf /dev/null /etc/systemd/system/systemd-journald-audit.socket\n",
            "prerm": "rm -f /etc/systemd/system/systemd-journald-audit.socket\n",
        },
    ),
    Original(
        "cros-ui-config",
        "0.16",
        {
            "etc/dconf/db/local.d/01-cros-ui": "[org/gnome/desktop/interface]\ngtk-theme='Other'\n",
            "etc/dconf/profile/user": "user-db:user\nsystem-db:local\n",
            "etc/gtk-2.0/gtkrc": "\n",
            "etc/gtk-3.0/settings.ini": "[Settings]\n",
            "etc/xdg/Trolltech.conf": "[Qt]\n",
        },
        ("/etc/dconf/db/local.d/01-cros-ui", "/etc/dconf/profile/user", "/etc/gtk-2.0/gtkrc"),
        {"postinst": "dconf update\n"},
    ),
    Original(
        "cros-wayland",
        "0.10",
        {"lib/udev/rules.d/10-cros-virtwl.rules": "# a rule\n", "etc/skel/.config/weston.ini": "[core]\n"},
        ("/etc/skel/.config/weston.ini",),
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
