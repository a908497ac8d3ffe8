# shellcheck shell=bash
# What the RAM OS is made of, for build.sh, renew-lock.sh and test.sh. Sourced, never run.
# shellcheck disable=SC2034  # used by those who source this

SUITE=trixie
LOCK=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/ramos.lock
FIRMWARE=(firmware-bnx2 firmware-bnx2x firmware-intel-misc firmware-linux-free firmware-misc-nonfree firmware-qlogic firmware-realtek)
PROGRAMS=(sfdisk e2fsck resize2fs)
TOOLS=(e2fsprogs fdisk libblkid1 libc6 libcom-err2 libext2fs2t64 libfdisk1 libreadline8t64 libsmartcols1 libtinfo6 libuuid1)
APPLETS=(
    '[' ash awk blkid blockdev cat chmod clear cp cttyhack cut date dd df dmesg du echo env expr false find free grep gunzip
    halt head hexdump hostname id insmod ip kill less ln losetup ls lsmod lspci md5sum mkdir mkfifo mknod modinfo modprobe
    more mount mv nslookup od ping poweroff printf ps pwd readlink realpath reboot rm rmdir rmmod route sed seq setsid sh
    sha256sum sleep sort stat stty sync tail tar tee test tftp time top touch tr true udhcpc umount uname uniq uptime usleep
    vi wc wget which xargs xz xzcat zcat
)

debian_arch() {
    case $1 in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) return 1 ;;
    esac
}

# The kernel's package name holds its version, so the lock says which one.
locked_kernel() { awk -v s="$SUITE" -v a="$2" '$1 == s && $2 == a && $3 ~ /^linux-image-[0-9]/ { print $3 }' "$1"; }

driver_names() { # LIST STAGE ARCH
    awk -v stage="$2" -v arch="$3" '$1 == stage && ($2 == "all" || $2 == arch) { for (i = 3; i <= NF; i++) print $i }' "$1"
}
