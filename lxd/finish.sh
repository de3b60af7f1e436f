#!/bin/sh
# Finishes a guest's root file system: mmdebstrap runs it last, with the root's path as $1. Our own files are in place.
set -eu
root=$1

chroot "$root" locale-gen

# The network: systemd-networkd has no failed unit without an interface, which ifupdown has. Nobody waits for it.
chroot "$root" systemctl enable systemd-networkd.service systemd-resolved.service
chroot "$root" systemctl disable systemd-networkd-wait-online.service
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"

# Binary formats are the kernel's, and that is the virtual machine's: the unit fails in a container.
chroot "$root" systemctl mask systemd-binfmt.service

# systemd 256 and later open sshd on local sockets by themselves, whatever sshd_not_to_be_run says.
mkdir -p "$root/etc/systemd/system-generators"
ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-ssh-generator"

# The host mounts its programs here.
mkdir -p "$root/opt/google/cros-containers"

# What mmdebstrap's eatmydata hook had installed for a while is still in the cache.
chroot "$root" ldconfig
rm -f "$root/var/cache/ldconfig/aux-cache"

# apt's folders belong to the build machine's _apt, whose number may be another one here (bullseye's is); apt makes them.
rm -rf "$root"/var/lib/apt/lists/* "$root/var/cache/apt/archives/partial"

# Identities that every container has to have for itself. An empty machine-id is filled in at boot.
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root"/etc/ssh/ssh_host_*

# Leftovers of the build, and caches whose bytes change from one build to the next. Man pages and fonts are indexed anew
# when they are first used, or by the timers.
rm -f "$root/etc/hostname" "$root/etc/.resolv.conf.systemd-resolved.bak" "$root/etc/apt/apt.conf.d/99mmdebstrap" "$root/etc/apt/preferences.d/cros-build" \
    "$root/etc/passwd-" "$root/etc/group-" "$root/etc/shadow-" "$root/etc/gshadow-" "$root/etc/subuid-" "$root/etc/subgid-"
rm -rf "$root/var/cache/man" "$root/var/cache/fontconfig" "$root/var/lib/systemd/random-seed"
mkdir -p "$root/var/cache/fontconfig"
[ ! -e "$root/usr/bin/man" ] || install -d -o man -g man "$root/var/cache/man"
find "$root/var/log" "$root/var/cache/apt" -type f -delete
find "$root/var/cache/debconf" "$root/var/lib/dpkg" -name '*-old' -delete
