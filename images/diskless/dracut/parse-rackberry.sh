#!/bin/sh
# Sourced by dracut's cmdline hook: boot=ram is a network root with a handler of its own, /sbin/rackberryroot.
# shellcheck disable=SC1091 # its place in the initramfs
command -v getarg >/dev/null || . /lib/dracut-lib.sh

if [ "$(getarg boot=)" = ram ]; then
    [ -n "$(getarg rooturl=)" ] || die "boot=ram needs rooturl=URL"
    # shellcheck disable=SC2034 # dracut's
    netroot=rackberry:ram root=rackberry rootok=1
    # shellcheck disable=SC2016,SC2154 # looked at later; dracut's
    echo '[ -e "$NEWROOT/proc" ]' >"$hookdir/initqueue/finished/rackberry.sh"
fi
