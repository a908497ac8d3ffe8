#!/usr/bin/env bash
# Buildroot runs this when the root is packed:  post-image.sh BINARIES_DIR
# Puts initramfs, boot partition and card together: the same init, settings and places as compose/build.sh, by genimage.
set -euo pipefail
images=${1:?usage: post-image.sh BINARIES_DIR}
: "${BASE_DIR:?Buildroot names its output folder}" "${TARGET_DIR:?Buildroot names its root}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
say() { printf 'rackberry: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}
# shellcheck source-path=SCRIPTDIR source=../../images/debian-parts.sh
. "$here/../../images/debian-parts.sh"
# shellcheck source-path=SCRIPTDIR source=../compose/packages.sh
. "$here/../compose/packages.sh"
# shellcheck source-path=SCRIPTDIR source=../initramfs/pack.sh
. "$here/../initramfs/pack.sh"
# shellcheck source-path=SCRIPTDIR source=layout
. "$here/layout"
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)} LC_ALL=C TZ=UTC

work=$BASE_DIR/rackberry-card
rm -rf "$work"
mkdir -p "$work"/{boot/overlays,empty}

make_boot() {
    local file
    choose_modules "$(first "$BASE_DIR"/rackberry-modules/*)"
    pack_initramfs "$(first "$TARGET_DIR/usr/bin/busybox" "$TARGET_DIR/bin/busybox")" "$(first "$BASE_DIR"/rackberry-modules/*)" \
        "$work/initramfs" "$work/boot/initramfs.img"
    cp "$images/Image.gz" "$work/boot/vmlinuz"
    for file in "${TREES[@]}"; do cp "$images/$file.dtb" "$work/boot/"; done
    make_overlays "$work/boot/overlays"
    cp "$here"/{config,cmdline}.txt "$work/boot/"
    cp "$here/../../docs/rackberry-card.toml" "$work/boot/rackberry.toml"
    # The board's own loaders, and no others.
    for file in "$images"/rpi-firmware/*.{bin,elf,dat}; do
        [ ! -e "$file" ] || cp "$file" "$work/boot/"
    done
    find "$work/boot" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
}

# One partition: a name, its start and length in sectors, and lines of its own.
partition() { # NAME START SIZE LINE...
    printf '\tpartition %s {\n\t\toffset = %s\n\t\tsize = %s\n' "$1" $(($2 * 512)) $(($3 * 512))
    shift 3
    printf '\t\t%s\n' "$@"
    printf '\t}\n'
}

ext4_image() { # NAME LABEL SECTORS FEATURES
    printf 'image %s {\n\text4 {\n\t\tlabel = "%s"\n\t\tuse-mke2fs = true\n\t\textraargs = "-b 4096 -m 0 %s"\n\t}\n\tempty = true\n\tsize = %s\n}\n' \
        "$1" "$2" "$4" $(($3 * 512))
}

genimage_config() {
    printf 'image boot.vfat {\n\tvfat {\n\t\tlabel = "RACKBERRY"\n\t\textraargs = "-F 32 -s 4 -i %s -h %s"\n\t\tfiles = {' "$DISK_ID" "$BOOT_START"
    # A folder takes its content along.
    (cd "$work/boot" && printf '"%s"\n' *) | commas | tr '\n' ' '
    printf '}\n\t}\n\tsize = %s\n}\n' $((BOOT_SIZE * 512))
    ext4_image state.ext4 rackberry-state "$STATE_SIZE" ''
    ext4_image store.ext4 rackberry-store "$STORE_SIZE" '-J size=8 -i 65536'
    printf 'image rackberry.img {\n\thdimage {\n\t\tpartition-table-type = "mbr"\n\t\tdisk-signature = 0x%s\n\t\talign = 1M\n\t\textended-partition = 4\n\t}\n' "$DISK_ID"
    partition boot "$BOOT_START" "$BOOT_SIZE" 'partition-type = 0xC' 'bootable = true' 'image = "boot.vfat"'
    partition slot-a "$A_START" "$SLOT_SIZE" 'partition-type = 0x83' "image = \"$images/rootfs.squashfs\""
    partition slot-b "$B_START" "$SLOT_SIZE" 'partition-type = 0x83'
    partition state "$STATE_START" "$STATE_SIZE" 'partition-type = 0x83' 'image = "state.ext4"'
    partition store "$STORE_START" "$STORE_SIZE" 'partition-type = 0x83' 'image = "store.ext4"'
    printf '}\n'
}

make_boot
genimage_config >"$work/genimage.cfg"
genimage --config "$work/genimage.cfg" --rootpath "$work/empty" --tmppath "$work/tmp" --inputpath "$work/boot" --outputpath "$images" ||
    die "genimage could not put the card together from $work/genimage.cfg"
rm -rf "$work/tmp"
say "the card is $images/rackberry.img"
