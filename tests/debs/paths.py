"""Every path that other parts of Chrome OS look for, by package and release."""

USER, SYSTEM, HOST = "usr/lib/systemd/user", "{lib}/systemd/system", "/opt/google/cros-containers"
WANTS = f"{USER}/default.target.wants"
# What other parts of Chrome OS look for, by name. `path -> target` is a link; {lib} is where the release has it.
EVERYWHERE = {
    "cros-guest-tools": [],
    "cros-adapta": [f"usr/share/themes/CrosAdapta -> {HOST}/cros-adapta"],
    "cros-apt-config": [
        "usr/share/keyrings/cros-archive-keyring.gpg",
        "usr/share/keyrings/cros.gpg -> cros-archive-keyring.gpg",
        "etc/apt/preferences.d/cros.pref",
        "etc/apt/apt.conf.d/50cros-bind-keyring",
        "usr/libexec/cros-apt-config/bind-keyring",
        f"{SYSTEM}/cros-bind-keyring.path",
        f"{SYSTEM}/cros-bind-keyring.service",
    ],
    "cros-garcon": [
        f"{USER}/cros-garcon.service",
        "etc/systemd/user/cros-garcon.service.d/cros-garcon-override.conf",
        "usr/bin/garcon-url-handler",
        "usr/bin/garcon-terminal-handler",
        "usr/share/applications/garcon_host_browser.desktop",
        "etc/dpkg/dpkg.cfg.d/garcon-hook",
        "etc/skel/.config/cros-garcon.conf",
        "usr/share/ansible/plugins/callback/garcon.py",
    ],
    "cros-gpu": [],
    "cros-gpu-alpha": ["etc/apt/preferences.d/cros-gpu-alpha.pref", "etc/apt/sources.list.d/cros-gpu-alpha.list"],
    "cros-host-fonts": ["etc/fonts/conf.d/05-cros-fonts.conf", f"{SYSTEM}/usr-share-fonts-chromeos.mount"],
    "cros-logging": ["usr/lib/tmpfiles.d/cros-logging.conf"],
    "cros-motd": ["etc/profile.d/cros-motd.sh", "usr/share/cros-motd/motd"],
    "cros-notificationd": [
        f"{USER}/cros-notificationd.service",
        "usr/share/dbus-1/services/org.freedesktop.Notifications.service",
    ],
    "cros-port-listener": [
        f"{SYSTEM}/cros-port-listener.service",
        "{lib}/udev/rules.d/10-cros-port-listener.rules",
    ],
    "cros-pulse-config": [
        "etc/pulse/daemon.conf -> daemon.conf.cros",
        "etc/pulse/default.pa -> default.pa.cros",
        "etc/pulse/daemon.conf.cros",
        "etc/pulse/default.pa.cros",
    ],
    "cros-sftp": [f"{SYSTEM}/cros-sftp.service"],
    "cros-sommelier": [
        f"{USER}/sommelier@.service",
        f"{USER}/sommelier-x@.service",
        "etc/sommelierrc",
        "etc/profile.d/sommelier.sh",
        "etc/skel/.sommelierrc",
        f"usr/bin/sommelier.elf -> {HOST}/bin/sommelier.elf",
        "usr/libexec/cros-sommelier/prepare",
        "usr/libexec/cros-sommelier/announce",
    ],
    "cros-sommelier-config": [
        *[f"{WANTS}/sommelier@{number}.service -> ../sommelier@.service" for number in "01"],
        *[f"{WANTS}/sommelier-x@{number}.service -> ../sommelier-x@.service" for number in "01"],
        *[f"etc/systemd/user/sommelier@{number}.service.d/cros-sommelier-override.conf" for number in "01"],
        *[f"etc/systemd/user/sommelier-x@{number}.service.d/cros-sommelier-x-override.conf" for number in "01"],
        "etc/systemd/user/sommelier@1.service.d/cros-sommelier-low-density-override.conf",
        "etc/systemd/user/sommelier-x@1.service.d/cros-sommelier-low-density-override.conf",
    ],
    "cros-sudo-config": ["etc/sudoers.d/10-cros-nopasswd"],
    "cros-systemd-overrides": ["etc/systemd/system/systemd-journald-audit.socket -> /dev/null"],
    "cros-tast-tests": [
        *[f"usr/share/applications/{name}_demo.desktop" for name in ("x11", "wayland")],
        *[f"usr/share/applications/{name}_demo_fixed_size.desktop" for name in ("x11", "wayland")],
        *[f"usr/share/icons/hicolor/32x32/apps/{name}_demo.png" for name in ("x11", "wayland")],
    ],
    "cros-ui-config": [
        "etc/gtk-2.0/gtkrc",
        "etc/gtk-3.0/settings.ini",
        "etc/xdg/Trolltech.conf",
        "etc/dconf/profile/user",
        "etc/dconf/db/local.d/01-cros-ui",
    ],
    "cros-vmstat-metrics": [f"{USER}/cros-vmstat-metrics.service"],
    "cros-wayland": ["{lib}/udev/rules.d/10-cros-virtwl.rules", "etc/skel/.config/weston.ini"],
}
RULES = {
    "cros-garcon": ["usr/share/polkit-1/rules.d/50-cros-garcon.rules"],
    "cros-sudo-config": ["usr/share/polkit-1/rules.d/10-cros-nopasswd.rules"],
}
PIPEWIRE = {
    "cros-pipe-config": [
        "etc/pipewire/pipewire.conf.d/crostini.conf",
        "etc/pipewire/pipewire-pulse.conf.d/crostini.conf",
    ],
    "cros-gpu": ["etc/apt/preferences.d/cros-gpu.pref"],
}
PORTAL_DESKTOP = [f"{USER}/xdg-desktop-portal.service.d/50-cros.conf"]
PKLA = "var/lib/polkit-1/localauthority"
BY_RELEASE = {
    "bullseye": [
        {
            "cros-garcon": [
                f"{PKLA}/50-local.d/garcon-packagekit.pkla",
                f"{PKLA}/50-local.d/garcon-synaptic.pkla",
            ],
            "cros-sudo-config": [f"{PKLA}/10-vendor.d/10-cros-nopasswd.pkla"],
            "cros-xdg-desktop-portal": PORTAL_DESKTOP,
            "cros-systemd-overrides": [f"{SYSTEM}/systemd-udev-trigger.service.d/50-cros-container.conf"],
        }
    ],
    "bookworm": [RULES, PIPEWIRE, {"cros-xdg-desktop-portal": PORTAL_DESKTOP}],
    "trixie": [RULES, PIPEWIRE, {"cros-xdg-desktop-portal": ["etc/xdg/xdg-desktop-portal/portals.conf"]}],
}


def expected(release: str) -> dict[str, set[str]]:
    lib = "usr/lib" if release == "trixie" else "lib"
    wanted: dict[str, set[str]] = {}
    for table in [EVERYWHERE, *BY_RELEASE[release]]:
        for package, paths in table.items():
            wanted.setdefault(package, set()).update(path.replace("{lib}", lib) for path in paths)
    return wanted
