#!/bin/sh
# An image as the project's predecessor made it, for scripts/bench_images.py to measure: a root from scratch, apt-get in a
# chroot, a tarball by pixz, a squashfs with gzip, and a second tarball with metadata and root for the test to import.
# Called in a mount namespace of its own as: plain_image.sh PLACE RELEASE PACKAGE...
#   PLACE    a directory; the root is made below it, and the image's files are left in it. It has
#     before/    what is copied into the root before anything is installed: apt's sources and settings, answers, a repository
#     after/     what is copied into it at the end
#     metadata/  the image's metadata.yaml and templates
set -eu
place=$1 release=$2
shift 2
root=$place/root

inside() {
    chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}

mmdebstrap --quiet --variant=minbase --format=directory "$release" "$root" "$place/before/etc/apt/sources.list"
cp --recursive --no-preserve=ownership "$place/before/." "$root"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"
mount -t devpts devpts "$root/dev/pts"
inside apt-get --quiet --quiet update
inside debconf-set-selections <"$place/before/root/preseed"
inside apt-get --quiet --quiet --yes install "$@"
inside apt-get --quiet --quiet clean
umount "$root/proc" "$root/dev/pts"
rm -rf "$root/usr/sbin/policy-rc.d" "$root/root/preseed" "$root/srv/cros-packages" "$root"/etc/apt/sources.list*
cp --recursive --no-preserve=ownership "$place/after/." "$root"
"${0%/*}/../lxd/finish.sh" "$root"

tar --create --xattrs --numeric-owner --directory="$root" . | pixz >"$place/rootfs.tar.xz"
mksquashfs "$root" "$place/rootfs.squashfs" -comp gzip -no-progress -quiet
tar --create --directory="$place/metadata" . | pixz >"$place/lxd.tar.xz"
mv "$root" "$place/metadata/rootfs"
tar --create --xattrs --numeric-owner --directory="$place/metadata" . | pixz >"$place/unified.tar.xz"
mv "$place/metadata/rootfs" "$root"
