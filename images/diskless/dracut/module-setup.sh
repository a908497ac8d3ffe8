#!/bin/bash
# dracut module: boot=ram rooturl=URL, a root that is fetched by HTTP and lives in memory.

# called by dracut
check() {
    require_binaries curl losetup sha256sum stat xzcat tar || return 1
    # Only where it is asked for: --add rackberry.
    return 255
}

# called by dracut
depends() {
    echo network url-lib
}

# called by dracut
installkernel() {
    # What another machine needs, not this one.
    hostonly='' instmods loop squashfs overlay =drivers/net/ethernet =drivers/net/phy virtio_net vmxnet3 hv_netvsc
}

# called by dracut
install() {
    inst_multiple curl losetup sha256sum stat xzcat gunzip gzip xz tar cp du wc head tail tr sed cat sleep kill mkdir rm umount mount reboot
    # shellcheck disable=SC2154 # dracut's
    inst_simple "$moddir/ram.sh" /lib/rackberry-ram.sh
    inst_hook cmdline 89 "$moddir/parse-rackberry.sh"
    inst_script "$moddir/rackberryroot.sh" /sbin/rackberryroot
    dracut_need_initqueue
}
