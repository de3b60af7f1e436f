#!/bin/sh
# An LXD daemon in namespaces of its own: when pid 1 of them dies, its containers, mounts and loop devices go too.
# Called by lxd/own.py as: daemon.sh outside PARENT_PID DATA NAME NETWORK
#   PARENT_PID  who started us; we are bound to its life (setpriv --pdeathsig), unless it is gone already
#   DATA        a directory for LXD's files: bound over /var/lib/lxd, so that no path is too long for a socket
#   NAME        of the cgroup everything runs in
#   NETWORK     `own`: its bridges are in a network namespace, and gone with it; `shared`: it uses this machine's network
set -eu
stage=$1 parent=$2 data=$3 name=$4 network=$5
lxd_dir=/var/lib/lxd

case $stage in
outside)
    # pdeathsig is not sent by a parent that died before it was set.
    [ "$PPID" = "$parent" ] || exit 1
    net=
    [ "$network" = shared ] || net=--net
    exec unshare --mount --pid $net --fork --kill-child --mount-proc sh "$0" inside "$parent" "$data" "$name" "$network"
    ;;
inside)
    # systemd 257 refuses the old hierarchy, so containers see the new one alone.
    umount -R /sys/fs/cgroup
    if [ "$network" = own ]; then
        ip link set lo up
        # The interfaces in /sys are those of the namespace it was mounted in.
        security=
        mountpoint -q /sys/kernel/security && security=1
        mount -t sysfs none /sys
        [ -z "$security" ] || mount -t securityfs none /sys/kernel/security
    fi
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir "/sys/fs/cgroup/$name"
    echo $$ >"/sys/fs/cgroup/$name/cgroup.procs"
    exec unshare --cgroup sh "$0" daemon "$parent" "$data" "$name" "$network"
    ;;
daemon)
    umount /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    # A cgroup that hands out controllers to others holds no process itself.
    mkdir /sys/fs/cgroup/daemon
    echo $$ >/sys/fs/cgroup/daemon/cgroup.procs
    mkdir -p "$lxd_dir" /var/lib/lxcfs
    mount --bind "$data" "$lxd_dir"
    trap 'exit 0' TERM INT
    if command -v lxcfs >/dev/null; then
        lxcfs --foreground --pidfile "$lxd_dir/lxcfs.pid" /var/lib/lxcfs >"$lxd_dir/lxcfs.log" 2>&1 &
    fi
    LXD_DIR=$lxd_dir lxd &
    wait $!
    ;;
esac
