#!/bin/sh
# Writes configs/ anew from fragments/, or compares:  buildroot/defconfigs.sh [--check]
# A defconfig is fragments/common, then the board's lines. Buildroot reads whole files, so they are kept whole.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd "$here"

# The lines that say something, each with the file and line it comes from.
lines() { grep -HnE '^(BR2_|# BR2_.* is not set$)' "$@"; }
symbol() { sed -E 's/^([^:]*:[0-9]+:)(# )?(BR2_[A-Za-z0-9_]+).*/\3 \1/'; }

status=0
for board in fragments/*; do
    [ "$board" != fragments/common ] || continue
    name=${board##*/}
    config=configs/rackberry_${name}_defconfig
    # Buildroot takes the last of two lines and says nothing, so neither a repeat nor a conflict is allowed.
    twice=$(lines fragments/common "$board" | symbol | sort | awk '$1 == last { print $1 ": " place " and " $2 } { last = $1; place = $2 }')
    if [ -n "$twice" ]; then
        echo "$config would say something twice: $twice" >&2
        status=1
    fi
    odd=$(grep -HnvE '^(BR2_[A-Za-z0-9_]+=(y|"[^"]*")|#.*)$' fragments/common "$board" || true)
    if [ -n "$odd" ]; then
        echo "this is no line of a defconfig: $odd" >&2
        status=1
    fi
    new=$(cat fragments/common "$board" | grep -E '^(BR2_|# BR2_.* is not set$)')
    if [ "${1:-}" != --check ]; then
        printf '%s\n' "$new" >"$config"
    elif [ "$(cat "$config" 2>/dev/null)" != "$new" ]; then
        echo "$config is not what fragments/common and $board say: run buildroot/defconfigs.sh" >&2
        status=1
    fi
done
for config in configs/*_defconfig; do
    name=${config#configs/rackberry_}
    [ -e "fragments/${name%_defconfig}" ] || { echo "$config has no fragment" >&2; status=1; }
done
exit $status
