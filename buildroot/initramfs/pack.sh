# shellcheck shell=bash
# How the initramfs is put together, whoever built kernel and busybox. Sourced after images/debian-parts.sh, compose/packages.sh
# and board/layout; never run.
#
#   choose_modules MODULES            fill stage_of[FILE] with what ../board/drivers.list names, from .../lib/modules/RELEASE
#   applets BIN APPLET...             names for a busybox that lies in BIN
#   make_overlays DIR                 compile our own device tree overlays
#   pack_initramfs BUSYBOX MODULES ROOT FILE      put it together in ROOT, and pack it as FILE
TREE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

choose_modules() {
    local name missing=()
    kernel_index "$1"
    # shellcheck disable=SC2013 # words are what is wanted
    for name in $(grep -v '^#' "$TREE/board/drivers.list"); do
        kernel_choose card "$name" || missing+=("$name")
    done
    [ ${#missing[@]} = 0 ] || die "the kernel ${1##*/} has no ${missing[*]}: correct drivers.list"
}

applets() {
    local bin=$1 applet
    shift
    for applet in "$@"; do
        [ -e "$bin/$applet" ] || ln -s busybox "$bin/$applet"
    done
}

make_overlays() {
    local source
    mkdir -p "$1"
    for source in "$TREE"/board/overlays/*.dts; do
        source=${source##*/}
        dtc -q -I dts -O dtb -o "$1/${source%.dts}.dtbo" "$TREE/board/overlays/$source" || die "the overlay $source cannot be compiled"
    done
}

pack_initramfs() {
    local modules=$2 root=$3 release=${2##*/} file
    mkdir -p "$root"/{bin,etc,dev,proc,sys,run,root} "$root/lib/modules/$release"
    ln -s bin "$root/sbin"
    install -m 755 "$1" "$root/bin/busybox"
    applets "$root/bin" "${EARLY_APPLETS[@]}"
    install -m 755 "$TREE/initramfs/init" "$root/init"
    install -m 644 "$TREE/board/layout" "$TREE"/initramfs/{slots,grow}.sh "$root/etc/"
    # shellcheck disable=SC2154 # debian-parts.sh filled it
    for file in "${!stage_of[@]}"; do
        install -D -m 644 "$modules/$file" "$root/lib/modules/$release/$file"
    done
    cp "$modules"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$release/"
    depmod -b "$root" "$release"
    for file in "$root/lib/modules/$release"/modules.*; do
        case ${file##*.} in dep | alias | symbols | softdep | builtin) ;; *) rm "$file" ;; esac
    done
    stamp "$root"
    (cd "$root" && find . -mindepth 1 -print0 | sort -z | cpio --quiet --null -o -H newc --reproducible -R 0:0) |
        zstd -q -19 -T1 >"$4"
}
