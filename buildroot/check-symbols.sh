#!/bin/sh
# Whether a Buildroot tree knows every symbol that ours uses:  buildroot/check-symbols.sh DIR
# Each one that it does not know, or only as a thing of the past, is named with file and line.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
tree=${1:?usage: check-symbols.sh DIR}
[ -f "$tree/Config.in" ] || { echo "there is no Buildroot in $tree: it has no Config.in" >&2; exit 2; }
tree=$(CDPATH='' cd -- "$tree" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# "FILE:LINE SYMBOL" of what is used, and the names that are given.
cd "$here"
{
    grep -HnoE 'BR2_[A-Za-z0-9_]+( is not set$|=)' fragments/* | sed -E 's/^([^:]*:[0-9]+):(BR2_[A-Za-z0-9_]+).*/\1 \2/'
    grep -HnoE '^[[:space:]]+(depends on|select) .*' package/*/Config.in | awk -F: '{
        place = $1 ":" $2
        while (match($0, /BR2_[A-Za-z0-9_]+/)) { print place, substr($0, RSTART, RLENGTH); $0 = substr($0, RSTART + RLENGTH) }
    }'
} >"$work/used"
names() { sed -nE 's/^[[:space:]]*(menu)?config[[:space:]]+(BR2_[A-Za-z0-9_]+)[[:space:]]*$/\2/p'; }
# Output and downloads of a tree that was built in are not its own words.
find "$tree" \( -path "$tree/output" -o -path "$tree/dl" -o -path "$tree/.git" \) -prune -o \
    -type f \( -name 'Config*.in*' -o -name 'Config.*' -o -path "$tree/configs" \) ! -name 'Config.in.legacy' -exec cat {} + | names >"$work/known"
find package -name 'Config.in' -exec cat {} + | names >>"$work/known"
names <"$tree/Config.in.legacy" >"$work/legacy" 2>/dev/null || : >"$work/legacy"

awk -v tree="$tree" -v known="$work/known" -v legacy="$work/legacy" '
    BEGIN {
        while ((getline name < known) > 0) is_known[name] = 1
        while ((getline name < legacy) > 0) was[name] = 1
    }
    { seen++ }
    is_known[$2] { next }
    { bad++; print "buildroot/" $1 ": " $2 (was[$2] ? " was taken out of" : " is unknown to") " the Buildroot in " tree }
    END {
        if (bad) { print bad " of " seen " uses cannot be met: take another release of Buildroot, or correct these lines"; exit 1 }
        print seen " uses of symbols, all known to the Buildroot in " tree
    }' "$work/used" >"$work/said" || { cat "$work/said" >&2; exit 1; }
cat "$work/said"
