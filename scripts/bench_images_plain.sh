#!/bin/sh
# One image type the plain way: debootstrap, a script in a chroot, tar.xz by pixz, squashfs as mksquashfs makes it, and a
# unified tarball for the tests. Called by bench_images.py as: bench_images_plain.sh RELEASE MIRROR REPOSITORY METADATA PLACE PACKAGE...
#   MIRROR      Debian's archive
#   REPOSITORY  the signed apt repository, a directory
#   METADATA    an image's lxd.tar.xz
#   PLACE       an empty directory; rootfs.tar.xz, rootfs.squashfs and unified.tar.xz are left there
set -eu
release=$1 mirror=$2 repository=$3 metadata=$4 place=$5
shift 5
root=$place/rootfs
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

debootstrap --variant=minbase --include=ca-certificates "$release" "$root" "$mirror" >"$place/log" 2>&1
mount --bind /proc "$root/proc"
mkdir "$root/mnt/repository"
mount --bind "$repository" "$root/mnt/repository"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf "$root/etc/resolv.conf"
echo "deb [trusted=yes] file:/mnt/repository $release main" >"$root/etc/apt/sources.list.d/cros.list"
chroot "$root" sh -euc 'apt-get -q update; apt-get -q --yes install "$@"; apt-get clean' sh "$@" >>"$place/log" 2>&1
rm -f "$root/usr/sbin/policy-rc.d" "$root/etc/apt/sources.list.d/cros.list" "$root/etc/resolv.conf"
rm -rf "$root"/var/lib/apt/lists/*
umount "$root/mnt/repository" "$root/proc"

mkdir "$place/unified"
tar --extract --file "$metadata" --directory "$place/unified"
mv "$root" "$place/unified/rootfs"
root=$place/unified/rootfs
tar --create --directory "$root" --numeric-owner . | pixz >"$place/rootfs.tar.xz"
mksquashfs "$root" "$place/rootfs.squashfs" -no-progress >>"$place/log"
tar --create --directory "$place/unified" --numeric-owner . | pixz >"$place/unified.tar.xz"
rm -rf "$place/unified"
