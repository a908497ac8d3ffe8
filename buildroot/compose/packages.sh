# shellcheck shell=bash
# What the card is made of, for build.sh and renew-lock.sh. Sourced, never run.
# shellcheck disable=SC2034  # used by those who source this

LOCK=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/card.lock
# Debian 13's own kernel knows neither the Pi 5's Ethernet nor its card slot; the backports' does.
SUITE=trixie
KERNEL_SUITE=trixie-backports
FIRMWARE=raspi-firmware
BUSYBOX=busybox-static
PROGRAMS=(dropbear e2fsck resize2fs setpriv)
TOOLS=(
    e2fsprogs util-linux libblkid1 libc6 libcap-ng0 libcom-err2 libext2fs2t64 libuuid1
    dropbear-bin libcrypt1 libgmp10 libtomcrypt1 libtommath1 zlib1g
)
# For other machines, not for the box.
MEMTEST=memtest86+

# Loaders of the Pi 3 and Zero 2, and of the Pi 4; a Pi 5 has its own in a chip.
LOADERS=(bootcode.bin start.elf fixup.dat start4.elf fixup4.dat)
TREES=(bcm2837-rpi-zero-2-w bcm2837-rpi-3-b bcm2837-rpi-3-b-plus bcm2711-rpi-4-b bcm2711-rpi-cm4-io bcm2712-rpi-5-b bcm2712-d-rpi-5-b)

# busybox-static has these compiled in; the list is kept here, for it is not run to be asked.
EARLY_APPLETS=(blockdev cat cp crc32 dd head mkdir mkfifo modprobe mount od reboot sh sleep sort switch_root timeout tr umount watchdog xargs)
APPLETS=(
    awk cat chmod chown cp cttyhack cut date dd df dmesg du find free getty grep halt head hostname init ip kill less ln login ls lsmod
    mdev mkdir modprobe mount mv netstat nslookup pidof ping poweroff ps reboot rm sed setsid sh sleep sort sync tail timeout top touch tr
    umount uname uptime vi wc xargs
)
