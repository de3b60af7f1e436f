#!/bin/sh
# An LXD daemon in namespaces of its own: when pid 1 of them dies, its containers, mounts and loop devices go too.
# Called by lxd/daemon.py as: daemon.sh outside PARENT_PID DATA NAME
#   PARENT_PID  who started us; we are bound to its life (setpriv --pdeathsig), unless it is gone already
#   DATA        a directory for LXD's files: bound over /var/lib/lxd, so that no path is too long for a socket
#   NAME        of the cgroup everything runs in
set -eu
stage=$1 parent=$2 data=$3 name=$4
lxd_dir=/var/lib/lxd

case $stage in
outside)
    # pdeathsig is not sent by a parent that died before it was set.
    [ "$PPID" = "$parent" ] || exit 1
    exec unshare --mount --pid --fork --kill-child --mount-proc sh "$0" inside "$parent" "$data" "$name"
    ;;
inside)
    # systemd 257 refuses the old hierarchy, so containers see the new one alone.
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir "/sys/fs/cgroup/$name"
    echo $$ >"/sys/fs/cgroup/$name/cgroup.procs"
    exec unshare --cgroup sh "$0" daemon "$parent" "$data" "$name"
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
