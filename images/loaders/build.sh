#!/usr/bin/env bash
# Collects the network boot loaders from pinned Debian packages and makes the GRUB that starts a machine's own disk.
#
#   images/loaders/build.sh [--mirror URL] OUTDIR     fill OUTDIR, manifest.json last
#   images/loaders/build.sh --renew-lock              write loaders.lock for the suite's newest versions
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=debian-pool.sh
. "$here/debian-pool.sh"

SUITE=trixie
LOCK=$here/loaders.lock
export SOURCE_DATE_EPOCH=1767225600 LC_ALL=C TZ=UTC
# grub-mkimage runs from the same suite as its modules, with that suite's libraries, so the host's GRUB does not matter.
TOOLS=(grub-common libc6 libdevmapper1.02.1 liblzma5 libselinux1 libudev1 libpcre2-8-0 libcap2)
FOR_amd64=(ipxe pxelinux syslinux-common grub-efi-amd64-bin grub-efi-amd64-unsigned grub-efi-amd64-signed shim-signed efi-shell-x64)
FOR_arm64=(grub-efi-arm64-bin grub-efi-arm64-unsigned grub-efi-arm64-signed shim-signed efi-shell-aa64)
MODULES=(normal boot chain configfile disk echo fat minicmd part_gpt part_msdos regexp tar memdisk terminal test true)

mirror='' renew='' out=''
while [ $# -gt 0 ]; do
    case $1 in
    --mirror) mirror=${2:?--mirror wants a URL}; shift ;;
    --renew-lock) renew=1 ;;
    -*) die "unknown option $1" ;;
    *) out=$1 ;;
    esac
    shift
done

if [ -n "$renew" ]; then
    {
        echo "# suite architecture package version sha256; written by build.sh --renew-lock"
        pool_open "$SUITE" amd64 "$mirror"
        pool_lock "${FOR_amd64[@]}" "${TOOLS[@]}"
        pool_open "$SUITE" arm64 "$mirror"
        pool_lock "${FOR_arm64[@]}" "${TOOLS[@]}"
    } >"$LOCK.new"
    mv "$LOCK.new" "$LOCK"
    exit 0
fi

[ -n "$out" ] || die "usage: build.sh [--mirror URL] OUTDIR"
need tar sha256sum:coreutils
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
out=$(cd "$out" && pwd)
rm -f "$out/manifest.json"
: >"$work/rows"

unpack() { # ARCH PACKAGE...
    local arch=$1 package
    shift
    pool_open "$SUITE" "$arch" "$mirror"
    pool_fetch "$LOCK" "$work/debs-$arch" "$@"
    for package in "$@"; do
        pool_unpack "$work/debs-$arch/$package.deb" "$work/$arch"
    done
}

row() { # NAME ARCH PACKAGE LICENCE
    local sum version
    sum=$(sha256sum <"$out/$1")
    version=$(dpkg-deb -f "$work/debs-$2/$3.deb" Version)
    printf '    {"name": "%s", "sha256": "%s", "size": %s, "package": "%s", "version": "%s", "licence": "%s"}\n' \
        "$1" "${sum%% *}" "$(stat -c %s "$out/$1")" "$3" "$version" "$4" >>"$work/rows"
}

take() { # NAME ARCH PACKAGE FILE LICENCE
    install -m 644 "$work/$2/$4" "$out/$1"
    row "$1" "$2" "$3" "$5"
}

mkimage() { # runs the pinned grub-mkimage
    local lib=("$work"/tools/usr/lib/*-linux-gnu) loader
    loader=("${lib[0]}"/ld-linux-*.so.*)
    "${loader[0]}" --library-path "${lib[0]}" "$work/tools/usr/bin/grub-mkimage" "$@"
}

localdisk() { # NAME ARCH FORMAT CPU FALLBACK
    local dir=$work/memdisk-$2/grub
    mkdir -p "$dir"
    sed -e "s/@CPU@/$4/g" -e "s/@FALLBACK@/$5/g" "$here/localdisk.cfg" >"$dir/grub.cfg"
    cp "$work/$2/usr/share/efi-shell-$4/shell$4.efi" "$dir/shell.efi"
    tar --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        -cf "$work/memdisk-$2.tar" -C "$work/memdisk-$2" grub
    # Named outright, for a GRUB that came by network looks there for its configuration first.
    printf 'configfile (memdisk)/grub/grub.cfg\nexit\n' >"$work/early.cfg"
    mkimage -O "$3" -c "$work/early.cfg" -d "$work/$2/usr/lib/grub/$3" -p '(memdisk)/grub' -m "$work/memdisk-$2.tar" \
        -o "$out/$1" "${MODULES[@]}"
    row "$1" "$2" "grub-efi-$2-bin" 'GPL-3+; its EFI shell BSD-2-clause-patent'
}

unpack amd64 "${FOR_amd64[@]}"
unpack arm64 "${FOR_arm64[@]}"
host=$(dpkg --print-architecture)
case $host in
amd64 | arm64) ;;
*) die "grub-mkimage is locked for amd64 and arm64 build machines, this one is $host" ;;
esac
pool_open "$SUITE" "$host" "$mirror"
pool_fetch "$LOCK" "$work/debs-tools" "${TOOLS[@]}"
for package in "${TOOLS[@]}"; do
    pool_unpack "$work/debs-tools/$package.deb" "$work/tools"
done

ipxe=GPL-2+
take undionly.kpxe amd64 ipxe usr/lib/ipxe/undionly.kpxe "$ipxe"
take ipxe.pxe amd64 ipxe usr/lib/ipxe/ipxe.pxe "$ipxe"
take snponly-x64.efi amd64 ipxe usr/lib/ipxe/snponly.efi "$ipxe"
take ipxe-x64.efi amd64 ipxe usr/lib/ipxe/ipxe-amd64.efi "$ipxe"
# Debian packages no snponly for arm64 and nothing for 32-bit EFI. ipxe-arm64.efi has the SNP driver beside its own.
take ipxe-arm64.efi amd64 ipxe usr/lib/ipxe/ipxe-arm64.efi "$ipxe"
# For a person's own configurations: no host is led to these by itself.
take pxelinux.0 amd64 pxelinux usr/lib/PXELINUX/pxelinux.0 "$ipxe"
take lpxelinux.0 amd64 pxelinux usr/lib/PXELINUX/lpxelinux.0 "$ipxe"
for module in ldlinux libcom32 libutil menu vesamenu chain reboot poweroff; do
    take "$module.c32" amd64 syslinux-common "usr/lib/syslinux/modules/bios/$module.c32" "$ipxe"
done
# The chain that Secure Boot accepts: the distribution's shim, which loads its GRUB, both signed and unchanged.
take shimx64.efi amd64 shim-signed usr/lib/shim/shimx64.efi.signed BSD-2-clause
take grubx64.efi amd64 grub-efi-amd64-signed usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed GPL-3+
take shimaa64.efi arm64 shim-signed usr/lib/shim/shimaa64.efi.signed BSD-2-clause
take grubaa64.efi arm64 grub-efi-arm64-signed usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed GPL-3+
localdisk localdisk-x64.efi amd64 x86_64-efi x64 X64
localdisk localdisk-arm64.efi arm64 arm64-efi aa64 AA64

{
    printf '{\n  "suite": "%s",\n  "files": [\n' "$SUITE"
    sort "$work/rows" | sed '$!s/$/,/'
    printf '  ]\n}\n'
} >"$out/manifest.json.new"
mv "$out/manifest.json.new" "$out/manifest.json"
say "loaders are in $out"
