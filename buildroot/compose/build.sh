#!/usr/bin/env bash
# Composes the SD card from pinned Debian packages, our program, and what it serves.
#
#   buildroot/compose/build.sh --program RACKBERRY --out OUTDIR --key UPDATE.PUB [--share SHARE] [--mirror URL]
#
# RACKBERRY is the static program for aarch64; SHARE holds loaders/, ramos/<arch>/ and catalog/, and is left out of a bare card.
# UPDATE.PUB is the minisign key that updates have to be signed with.
# OUTDIR/rackberry.img    the card: what ../board/layout says, with slot A filled
#        manifest.json    its packages, files and sizes, also in the card at /etc/rackberry/; written last
# The same inputs and the same squashfs-tools, e2fsprogs, dosfstools, mtools, fdisk, cpio, zstd and kmod give the same bytes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../images/loaders/debian-pool.sh
. "$here/../../images/loaders/debian-pool.sh"
# shellcheck source-path=SCRIPTDIR source=../../images/debian-parts.sh
. "$here/../../images/debian-parts.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$here/packages.sh"
# shellcheck source-path=SCRIPTDIR source=../board/layout
. "$here/../board/layout"
# shellcheck source-path=SCRIPTDIR source=../initramfs/grow.sh
. "$here/../initramfs/grow.sh"
# shellcheck source-path=SCRIPTDIR source=../initramfs/pack.sh
. "$here/../initramfs/pack.sh"

export SOURCE_DATE_EPOCH=1767225600 LC_ALL=C TZ=UTC
umask 022

program='' key='' share='' out='' mirror=''
while [ $# -gt 0 ]; do
    case $1 in
    --program) program=${2:?} ;;
    --key) key=${2:?} ;;
    --share) share=${2:?} ;;
    --out) out=${2:?} ;;
    --mirror) mirror=${2:?} ;;
    *) die "usage: build.sh --program RACKBERRY --out OUTDIR --key UPDATE.PUB [--share SHARE] [--mirror URL]" ;;
    esac
    shift 2
done
[ -x "$program" ] || die "--program: $program is not a program"
[ -s "$key" ] || die "--key: the public key of updates is missing; ./x makes one for development"
[ -z "$share" ] || [ -d "$share/loaders" ] || die "--share: there are no loaders in $share"
[ -n "$out" ] || die "--out OUTDIR is missing"
need mksquashfs:squashfs-tools zstd cpio depmod:kmod readelf:binutils sfdisk:fdisk mkfs.vfat:dosfstools mcopy:mtools mke2fs:e2fsprogs dtc:device-tree-compiler

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out/manifest.json"
mkdir -p "$work"/{boot,root,kernel,tools,memtest}
packages=()

# Unpacks packages of one suite into a folder of $work.
take() { # FOLDER SUITE ARCH PACKAGE...
    local folder=$1 suite=$2 arch=$3 package
    shift 3
    pool_open "$suite" "$arch" "$mirror"
    pool_fetch "$LOCK" "$work/debs" "$@"
    for package in "$@"; do
        pool_unpack "$work/debs/$package.deb" "$work/$folder"
        packages+=("$package")
    done
}

fetch_packages() {
    local kernel
    # The kernel's packages have its version in their names, so the lock says which.
    mapfile -t kernel < <(awk -v s="$KERNEL_SUITE" '$1 == s && $2 == "arm64" { print $3 }' "$LOCK")
    take kernel "$KERNEL_SUITE" arm64 "${kernel[@]}"
    take tools "$SUITE" arm64 "$FIRMWARE" "$BUSYBOX" "${TOOLS[@]}"
    [ -z "$share" ] || take memtest "$SUITE" amd64 "$MEMTEST"
    modules=$(first "$work"/kernel/usr/lib/modules/*)
    release=${modules##*/}
    depmod -b "$work/kernel/usr" "$release"
}

make_boot() {
    local file
    install -m 644 "$(first "$modules/vmlinuz" "$work"/kernel/boot/vmlinuz-*)" "$work/boot/vmlinuz"
    for file in "${LOADERS[@]}"; do
        install -m 644 "$(first "$work/tools/usr/lib/raspi-firmware/$file")" "$work/boot/$file"
    done
    for file in "${TREES[@]}"; do
        install -m 644 "$(first "$modules/dtb/broadcom/$file.dtb" "$work/kernel/usr/lib/linux-image-$release/broadcom/$file.dtb")" \
            "$work/boot/$file.dtb"
    done
    install -m 644 "$here"/../board/{config,cmdline}.txt "$work/boot/"
    # What an overlay names has to be in the trees that it is laid over.
    make_overlays "$work/boot/overlays"
    for file in "$work"/boot/bcm2712-*.dtb; do
        fdtoverlay -i "$file" -o "$work/laid.dtb" "$work/boot/overlays/rackberry-i2c-pi5.dtbo" ||
            die "the overlay rackberry-i2c-pi5 does not fit ${file##*/}"
    done
    install -m 644 "$here/../../docs/rackberry-card.toml" "$work/boot/rackberry.toml"
    install -m 644 "$work/tools/usr/share/doc/$FIRMWARE/copyright" "$work/boot/LICENCE-firmware.txt"
    stamp "$work/boot"
}

place_licences() {
    local package name
    for package in "${packages[@]}"; do
        # The package's own word, for a kernel that replaced a vanished one has another name.
        name=$(dpkg-deb -f "$work/debs/$package.deb" Package)
        if [ -e "$work/$1/usr/share/doc/$name/copyright" ]; then
            install -D -m 644 "$work/$1/usr/share/doc/$name/copyright" "$work/root/usr/share/doc/$name/copyright"
        fi
    done
}

make_root() {
    local root=$work/root folder tool
    mkdir -p "$root"/{boot,dev,proc,sys,run,tmp,var,srv,root,etc/rackberry,usr/bin,usr/lib,usr/share/rackberry}
    for folder in bin lib; do ln -s "usr/$folder" "$root/$folder"; done
    ln -s usr/bin "$root/sbin"
    ln -s bin "$root/usr/sbin"
    ln -s /run/modules "$root/usr/lib/modules"
    cp -r "$here/../rootfs-overlay/." "$root/"
    chmod 600 "$root/etc/shadow"
    printf '%s\n' "$SOURCE_DATE_EPOCH" >"$root/etc/rackberry/built"
    install -m 644 "$key" "$root/etc/rackberry/update.pub"
    install -m 755 "$program" "$root/usr/bin/rackberry"
    install -m 755 "$work/initramfs/bin/busybox" "$root/usr/bin/busybox"
    for tool in "${PROGRAMS[@]}"; do place_program "$root" "$tool" "$work/tools"; done
    applets "$root/usr/bin" "${APPLETS[@]}"
    if [ -n "$share" ]; then
        cp -rL "$share"/{loaders,catalog} "$root/usr/share/rackberry/"
        mkdir "$root/usr/share/rackberry/ramos"
        cp -r "$share"/ramos/* "$root/usr/share/rackberry/ramos/"
        place_memtest "$root/usr/share/rackberry/memtest"
    else
        cp -r "$here/../../images/catalog" "$root/usr/share/rackberry/"
    fi
    # What a test holds the profiles against is for the source alone.
    find "$root/usr/share/rackberry/catalog" -type d -name expected -prune -exec rm -rf {} +
    for folder in kernel tools memtest; do place_licences "$folder"; done
    write_manifest >"$root/etc/rackberry/manifest.json"
    stamp "$root"
    mksquashfs "$root" "$work/slot.squashfs" -quiet -no-progress -noappend -all-root -no-exports -no-xattrs \
        -comp xz -b 1M
}

# What the box has to give before anybody brought it anything: served as files of a person's own.
place_memtest() {
    mkdir -p "$1"
    install -m 644 "$work/memtest/boot/memtest86+x64.bin" "$1/x64.bin"
    install -m 644 "$work/memtest/boot/memtest86+x64.efi" "$1/x64.efi"
    cat >"$1/memtest.ipxe" <<'END'
#!ipxe
# Tests the memory of the machine that is led here; touches no disk.
iseq ${platform} efi && kernel x64.efi || kernel x64.bin
boot
END
}

write_manifest() {
    local package file
    printf '{\n  "kernel": "%s",\n  "program": "%s",\n  "packages": [\n' "$release" "$(digest "$program")"
    for package in "${packages[@]}"; do
        # shellcheck disable=SC2016  # the words in ${} are dpkg's
        printf '    {%s, "sha256": "%s"}\n' "$(dpkg-deb -W --showformat='"name": "${Package}", "version": "${Version}", "architecture": "${Architecture}"' "$work/debs/$package.deb")" \
            "$(digest "$work/debs/$package.deb")"
    done | commas
    printf '  ],\n  "modules": [\n'
    for file in "${!stage_of[@]}"; do printf '    "%s"\n' "$(module_name "$file")"; done | sort | commas
    printf '  ],\n  "boot": [\n'
    (cd "$work/boot" && find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum --) | sed 's/^\([^ ]*\)  \(.*\)/    {"name": "\2", "sha256": "\1"}/' | commas
    printf '  ]\n}\n'
}

# An ext4 whose bytes depend on its content alone.
ext4() { # FILE LABEL SECTORS UUID FOLDER [MORE...]
    local file=$1 label=$2 sectors=$3 uuid=$4 folder=$5
    shift 5
    rm -f "$file"
    truncate -s $((sectors * 512)) "$file"
    E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -F -t ext4 -b 4096 -L "$label" -U "$uuid" -m 0 -d "$folder" \
        -E "hash_seed=$uuid,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0" -O '^metadata_csum_seed,^orphan_file' "$@" "$file"
}

put() { # FILE SECTOR SECTORS
    [ "$(stat -c %s "$1")" -le $(($3 * 512)) ] || die "${1##*/} has $(stat -c %s "$1") bytes, its partition $(($3 * 512))"
    dd if="$1" of="$card" bs=1M seek=$(($2 / 2048)) conv=notrunc,sparse status=none
}

make_card() {
    local boot=$work/boot.fat
    card=$out/rackberry.img.new
    rm -f "$card"
    truncate -s $(((STORE_START + STORE_SIZE) * 512)) "$card"
    table | sfdisk -q --no-reread "$card"

    truncate -s $((BOOT_SIZE * 512)) "$boot"
    mkfs.vfat --invariant -F 32 -s 4 -n RACKBERRY -i "$DISK_ID" -h "$BOOT_START" "$boot" >/dev/null
    # One after the other in the alphabet's order, with the times of the files.
    (cd "$work/boot" && for file in *; do mcopy -s -m -i "$boot" "$file" ::; done)
    put "$boot" "$BOOT_START" "$BOOT_SIZE"
    put "$work/slot.squashfs" "$A_START" "$SLOT_SIZE"

    mkdir "$work/empty"
    stamp "$work/empty"
    ext4 "$work/state.ext4" rackberry-state "$STATE_SIZE" 7ac0b3e1-0000-4000-8000-000000000005 "$work/empty"
    put "$work/state.ext4" "$STATE_START" "$STATE_SIZE"
    # Room for the tables of a large card; the journal cannot grow later.
    ext4 "$work/store.ext4" rackberry-store "$STORE_SIZE" 7ac0b3e1-0000-4000-8000-000000000006 "$work/empty" \
        -J size=8 -i 65536
    put "$work/store.ext4" "$STORE_START" "$STORE_SIZE"
    mv "$card" "$out/rackberry.img"
}

fetch_packages
choose_modules "$modules"
pack_initramfs "$(first "$work/tools/usr/bin/busybox" "$work/tools/bin/busybox")" "$modules" "$work/initramfs" "$work/boot/initramfs.img"
make_boot
make_root
make_card
cp "$work/root/etc/rackberry/manifest.json" "$out/manifest.json.new"
mv "$out/manifest.json.new" "$out/manifest.json"
say "card ($release): boot files $(du -bcs "$work"/boot/* | awk 'END { printf "%.1f MB", $1 / 1e6 }'), of these kernel $(stat -c %s "$work/boot/vmlinuz" | awk '{ printf "%.1f MB", $1 / 1e6 }') and initramfs $(stat -c %s "$work/boot/initramfs.img" | awk '{ printf "%.1f MB", $1 / 1e6 }'); slot $(stat -c %s "$work/slot.squashfs" | awk '{ printf "%.1f MB", $1 / 1e6 }'); whole $(stat -c %s "$out/rackberry.img" | awk '{ printf "%.1f MB", $1 / 1e6 }')"
