#!/usr/bin/env bash
# Builds the RAM OS that hosts boot from the network, from pinned Debian packages and our agent.
#
#   images/ramos/build.sh --arch x86_64|aarch64 --agent STATIC_AGENT --out OUTDIR [--mirror URL]
#
# OUTDIR/<arch>/vmlinuz         Debian's kernel, signed as it is
#               early.img       initramfs: busybox, init, agent, every network driver with its firmware
#               main.squashfs   storage, file systems, IPMI, tools; early.img knows its SHA-256 and fetches it
#               manifest.json   files, packages, licences, modules, firmware, the kernel arguments recommended; written last
# The same inputs and the same squashfs-tools, cpio, zstd and kmod give the same bytes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../loaders/debian-pool.sh
. "$here/../loaders/debian-pool.sh"
# shellcheck source-path=SCRIPTDIR source=../debian-parts.sh
. "$here/../debian-parts.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$here/packages.sh"

export SOURCE_DATE_EPOCH=1767225600 LC_ALL=C TZ=UTC
umask 022
# quiet: a serial line of 115200 baud costs seconds. No mitigations: nothing of a stranger's runs here.
ARGUMENTS='quiet loglevel=3 mitigations=off panic=30 net.ifnames=0'

arch='' agent='' out='' mirror=''
while [ $# -gt 0 ]; do
    case $1 in
    --arch) arch=${2:?} ;;
    --agent) agent=${2:?} ;;
    --out) out=${2:?} ;;
    --mirror) mirror=${2:?} ;;
    *) die "usage: build.sh --arch x86_64|aarch64 --agent STATIC_AGENT --out OUTDIR [--mirror URL]" ;;
    esac
    shift 2
done
debian=$(debian_arch "$arch") || die "--arch must be x86_64 or aarch64"
[ -x "$agent" ] || die "--agent: $agent is not a program"
[ -n "$out" ] || die "--out OUTDIR is missing"
need mksquashfs:squashfs-tools zstd cpio depmod:kmod modinfo:kmod xz:xz-utils

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out/$arch"
out=$(cd "$out/$arch" && pwd)
rm -f "$out/manifest.json"

fetch_packages() {
    local package kernel
    kernel=$(locked_kernel "$LOCK" "$debian")
    packages=("$kernel" "${FIRMWARE[@]}" "${TOOLS[@]}" busybox-static)
    pool_open "$SUITE" "$debian" "$mirror"
    pool_fetch "$LOCK" "$work/debs" "${packages[@]}"
    for package in "${packages[@]}"; do
        case $package in
        "$kernel") pool_unpack "$work/debs/$package.deb" "$work/kernel" ;;
        firmware-*) pool_unpack "$work/debs/$package.deb" "$work/firmware" ;;
        *) pool_unpack "$work/debs/$package.deb" "$work/tools" ;;
        esac
    done
    modules=$(first "$work"/kernel/usr/lib/modules/*)
    release=${modules##*/}
    depmod -b "$work/kernel/usr" "$release"
}

# Early wins over main, for main may lean on early and not the other way.
choose_modules() {
    local stage name missing=()
    for stage in early main; do
        for name in $(driver_names "$here/drivers.list" "$stage" "$arch"); do
            kernel_choose "$stage" "$name" || missing+=("$name")
        done
    done
    [ ${#missing[@]} = 0 ] || die "the kernel $release has no ${missing[*]}: correct drivers.list"
}

# Early modules stay xz-compressed, for a machine loads two of them and unpacking all would cost every boot;
# main's are plain, for squashfs reads just the blocks that are wanted.
place_modules() {
    local file stage target
    for file in "${!stage_of[@]}"; do
        stage=${stage_of[$file]}
        target=$work/$stage/lib/modules/$release/$stage/${file#kernel/}
        install -D -m 644 "$modules/$file" "$target"
        [ "$stage" = early ] || xz -d "$target"
    done
}

place_firmware() {
    local file stage blob source
    : >"$work/firmware.list"
    : >"$work/firmware.missing"
    for file in "${!stage_of[@]}"; do
        stage=${stage_of[$file]}
        for blob in $(modinfo -F firmware "$modules/$file"); do
            source=$work/firmware/usr/lib/firmware/$blob
            if [ ! -e "$source" ]; then
                printf '%s %s\n' "$(module_name "$file")" "$blob" >>"$work/firmware.missing"
                continue
            fi
            install -D -m 644 "$source" "$work/$stage/lib/firmware/$blob"
            printf '%s %s\n' "$(module_name "$file")" "$blob" >>"$work/firmware.list"
        done
    done
    # The kernel reads NAME.zst where NAME is not there; early.img's zstd wrapping then costs nothing on these.
    find "$work/early/lib/firmware" -type f -exec zstd -q -19 --rm {} +
}

# Indexes: early's names early modules only, main's names both (main/ and early/ side by side at run time).
place_indexes() {
    local merged=$work/merged/lib/modules/$release index
    mkdir -p "$merged"
    cp -a "$modules"/modules.{builtin,builtin.modinfo,order} "$merged/"
    cp -al "$work/early/lib/modules/$release/early" "$merged/"
    depmod -b "$work/merged" "$release"
    for index in dep alias symbols softdep builtin; do
        cp "$merged/modules.$index" "$work/early/lib/modules/$release/"
    done
    cp -al "$work/main/lib/modules/$release/main" "$merged/"
    depmod -b "$work/merged" "$release"
    for index in dep alias symbols softdep; do
        cp "$merged/modules.$index" "$work/main/lib/modules/"
    done
    mv "$work/main/lib/modules/$release/main" "$work/main/lib/modules/main"
    rmdir "$work/main/lib/modules/$release"
}

place_tools() {
    local program
    for program in "${PROGRAMS[@]}"; do
        place_program "$work/main" "$program" "$work/tools"
    done
    # The name of the program interpreter is part of the ABI.
    case $arch in
    x86_64) ln -s usr/lib "$work/main/lib64" ;;
    aarch64) ln -s ../usr/lib/ld-linux-aarch64.so.1 "$work/main/lib/ld-linux-aarch64.so.1" ;;
    esac
}

place_licences() {
    local package deb
    for deb in "${packages[@]/#/$work/debs/}"; do
        # The package's own word, for a kernel that replaced a vanished one has another name.
        package=$(dpkg-deb -f "$deb.deb" Package)
        mkdir -p "$work/one"
        pool_unpack "$deb.deb" "$work/one"
        if [ -e "$work/one/usr/share/doc/$package/copyright" ]; then
            install -D -m 644 "$work/one/usr/share/doc/$package/copyright" "$work/main/usr/share/doc/$package/copyright"
        fi
        rm -rf "$work/one"
    done
}

make_main() {
    stamp "$work/main"
    rm -f "$out/main.squashfs"
    mksquashfs "$work/main" "$out/main.squashfs" -quiet -no-progress -noappend -all-root -no-exports -no-xattrs \
        -comp zstd -Xcompression-level 19 -b 256K
}

make_early() {
    local root=$work/early applet
    mkdir -p "$root"/{bin,sbin,etc,dev,proc,sys,run,tmp,root,main}
    install -m 755 "$(first "$work/tools/usr/bin/busybox" "$work/tools/bin/busybox")" "$root/bin/busybox"
    # Debian's busybox has its applets compiled in; the list is taken from there, not from running a foreign program.
    for applet in "${APPLETS[@]}"; do
        ln -s busybox "$root/bin/$applet"
    done
    ln -s ../bin/busybox "$root/sbin/modprobe"
    ln -s main/usr "$root/usr"
    case $arch in
    x86_64) ln -s main/lib64 "$root/lib64" ;;
    aarch64) ln -s ../main/lib/ld-linux-aarch64.so.1 "$root/lib/ld-linux-aarch64.so.1" ;;
    esac
    install -m 755 "$agent" "$root/bin/rackberry-agent"
    install -m 755 "$here/udhcpc.script" "$root/etc/udhcpc.script"
    sed -e "s/@RELEASE@/$release/" -e "s/@ARCH@/$arch/" -e "s/@MAIN_SHA256@/$(digest "$out/main.squashfs")/" \
        "$here/init" >"$root/init"
    chmod 755 "$root/init"
    stamp "$root"
    (cd "$root" && find . -mindepth 1 -print0 | sort -z | cpio --quiet --null -o -H newc --reproducible -R 0:0) |
        zstd -q -19 -T1 >"$out/early.img"
}

write_manifest() {
    local file deb
    {
        printf '{\n  "arch": "%s",\n  "suite": "%s",\n  "kernel": "%s",\n  "arguments": "%s",\n  "files": [\n' \
            "$arch" "$SUITE" "$release" "$ARGUMENTS"
        for file in vmlinuz early.img main.squashfs; do
            printf '    {"name": "%s", "sha256": "%s", "size": %s}\n' "$file" "$(digest "$out/$file")" "$(stat -c %s "$out/$file")"
        done | commas
        printf '  ],\n  "packages": [\n'
        for deb in "${packages[@]/#/$work/debs/}"; do
            # shellcheck disable=SC2016  # the words in ${} are dpkg's
            dpkg-deb -W --showformat='    {"name": "${Package}", "version": "${Version}", "licence": "main.squashfs:/usr/share/doc/${Package}/copyright"}\n' "$deb.deb"
        done | commas
        printf '  ],\n  "modules": {\n'
        for file in "${!stage_of[@]}"; do
            printf '    "%s": "%s"\n' "$(module_name "$file")" "${stage_of[$file]}"
        done | sort | commas
        printf '  },\n  "firmware": [\n'
        sort -u "$work/firmware.list" | sed 's/\(.*\) \(.*\)/    {"module": "\1", "file": "\2"}/' | commas
        printf '  ],\n  "firmware_not_packaged": [\n'
        sort -u "$work/firmware.missing" | sed 's/\(.*\) \(.*\)/    {"module": "\1", "file": "\2"}/' | commas
        printf '  ]\n}\n'
    } >"$out/manifest.json.new"
    mv "$out/manifest.json.new" "$out/manifest.json"
}

fetch_packages
kernel_index "$modules"
choose_modules
mkdir -p "$work"/{early,main}
place_modules
place_firmware
place_indexes
place_tools
place_licences
install -m 644 "$(first "$work"/kernel/boot/vmlinuz-*)" "$out/vmlinuz"
make_main
make_early
write_manifest
say "RAM OS for $arch ($release): $(cd "$out" && du -bc vmlinuz early.img main.squashfs | awk '{printf "%s %.1f MB  ", $2, $1 / 1e6}')"
