#!/bin/sh
# An LXD or Incus daemon in namespaces of its own: when pid 1 of them dies, its containers, mounts and loop devices go too.
# Called by lxd/own.py as: daemon.sh outside PARENT_PID DATA NAME NETWORK PROGRAM VARIABLE HOME
#   PARENT_PID  who started us; we are bound to its life (setpriv --pdeathsig), unless it is gone already
#   DATA        a directory for its files: bound over HOME, so that no path is too long for a socket
#   NAME        of the cgroup everything runs in
#   NETWORK     `own`: its bridges are in a network namespace, and gone with it; `shared`: it uses this machine's network
#   PROGRAM     the daemon; the environment variable VARIABLE tells it that its directory is HOME
set -eu
parent=$2 data=$3 name=$4 network=$5 program=$6 variable=$7 home=$8
next() {
    exec "$@" "$parent" "$data" "$name" "$network" "$program" "$variable" "$home"
}

case $1 in
outside)
    # pdeathsig is not sent by a parent that died before it was set.
    [ "$PPID" = "$parent" ] || exit 1
    net=
    [ "$network" = shared ] || net=--net
    next unshare --mount --pid $net --fork --kill-child --mount-proc sh "$0" inside
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
    next unshare --cgroup sh "$0" daemon
    ;;
daemon)
    umount /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    # A cgroup that hands out controllers to others holds no process itself.
    mkdir /sys/fs/cgroup/daemon
    echo $$ >/sys/fs/cgroup/daemon/cgroup.procs
    mkdir -p "$home" /var/lib/lxcfs
    mount --bind "$data" "$home"
    trap 'exit 0' TERM INT
    if command -v lxcfs >/dev/null; then
        lxcfs --foreground --pidfile "$home/lxcfs.pid" /var/lib/lxcfs >"$home/lxcfs.log" 2>&1 &
    fi
    env "$variable=$home" "$program" &
    wait $!
    ;;
esac
