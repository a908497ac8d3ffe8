#!/usr/bin/env bash
# Checks a built RAM OS without starting it:  images/ramos/test.sh OUTDIR/ARCH
# Every driver of drivers.list is in its part, dependencies and firmware too, the digest in early.img is main.squashfs's,
# and the parts keep their sizes.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../loaders/debian-pool.sh
. "$here/../loaders/debian-pool.sh"
# shellcheck source-path=SCRIPTDIR source=../debian-parts.sh
. "$here/../debian-parts.sh"
# shellcheck source-path=SCRIPTDIR source=packages.sh
. "$here/packages.sh"
export LC_ALL=C

[ -e "${1:-}/manifest.json" ] || die "usage: test.sh OUTDIR/ARCH, as build.sh made it"
out=$(cd "$1" && pwd)
arch=${out##*/}
need zstd cpio unsquashfs:squashfs-tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

check() { # SENTENCE COMMAND...
    local sentence=$1
    shift
    if "$@" >/dev/null; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        say "FAILED: $sentence"
    fi
}

mkdir "$work/early"
zstd -qdc "$out/early.img" | (cd "$work/early" && cpio --quiet -idm --no-absolute-filenames)
unsquashfs -q -n -no-xattrs -d "$work/main" "$out/main.squashfs" >/dev/null
early=("$work"/early/lib/modules/*)
release=${early[0]##*/}

names() { find "$1" -name '*.ko*' | while read -r file; do module_name "$file"; done; }
names "$work/early/lib/modules" | sort >"$work/early.names"
names "$work/main/lib/modules" | sort >"$work/main.names"
while read -r file; do module_name "$file"; done <"${early[0]}/modules.builtin" | sort >"$work/builtin.names"

has() { # STAGE NAME: in this part, in one before it, or in the kernel
    grep -qx "${2//-/_}" "$work/builtin.names" "$work/early.names" ||
        { [ "$1" = main ] && grep -qx "${2//-/_}" "$work/main.names"; }
}
for stage in early main; do
    for name in $(driver_names "$here/drivers.list" "$stage" "$arch"); do
        check "$stage has the driver $name" has "$stage" "$name"
    done
done

# Paths of an index are relative to /lib/modules/RELEASE, where early/ and, later, main/ lie side by side.
index_complete() { # INDEX FOLDER-OF-early FOLDER-OF-main
    local file
    tr -d : <"$1" | tr ' ' '\n' | sed '/^$/d' | while read -r file; do
        case $file in
        early/*) test -e "$2/$file" || exit 1 ;;
        *) test -e "$3/$file" || exit 1 ;;
        esac
    done
}
check "early's index names early modules only" index_complete "${early[0]}/modules.dep" "${early[0]}" /none
check "main's index names modules that are there" \
    index_complete "$work/main/lib/modules/modules.dep" "${early[0]}" "$work/main/lib/modules"

sed -n '/"firmware": \[/,/\]/s/.*"module": "\(.*\)", "file": "\(.*\)".*/\1 \2/p' "$out/manifest.json" >"$work/firmware"
check "the manifest names firmware" test -s "$work/firmware"
while read -r name blob; do
    part=main
    ! grep -qx "$name" "$work/early.names" || part=early
    check "$part has the firmware $blob of $name" \
        eval "[ -e '$work/$part/lib/firmware/$blob' ] || [ -e '$work/$part/lib/firmware/$blob.zst' ]"
done <"$work/firmware"

sum=$(sha256sum <"$out/main.squashfs")
check "init knows main.squashfs's SHA-256" grep -qx "MAIN_SHA256=${sum%% *}" "$work/early/init"
check "init knows the kernel's release" grep -qx "RELEASE=$release" "$work/early/init"
check "the agent is in early.img" test -x "$work/early/bin/rackberry-agent"
check "modprobe is where the kernel calls it" test -L "$work/early/sbin/modprobe"
for program in "${PROGRAMS[@]}"; do
    check "main has $program" test -x "$work/main/usr/bin/$program"
done
size() { cat "$@" | wc -c; }
check "early.img is at most 30 MB" [ "$(size "$out/early.img")" -le 30000000 ]
check "kernel, early.img and main.squashfs are at most 90 MB" \
    [ "$(size "$out/vmlinuz" "$out/early.img" "$out/main.squashfs")" -le 90000000 ]

echo "$passed passed, $failed failed"
[ $failed = 0 ]
