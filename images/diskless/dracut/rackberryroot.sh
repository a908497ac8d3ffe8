#!/bin/sh
# Called by dracut's netroot with the interface that is up, the root's name and where it belongs.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
# shellcheck disable=SC1091 # their places in the initramfs
. /lib/dracut-lib.sh
# shellcheck disable=SC1091
. /lib/rackberry-ram.sh

# dracut has it up before it calls this.
ram_network() { :; }

ram_shell() {
    emergency_shell -n rackberry "$1"
}

ram_root "$3"
# What waits for a device of a root on disk goes on.
[ -e /dev/root ] || ln -s null /dev/root
