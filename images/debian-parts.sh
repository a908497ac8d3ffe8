# shellcheck shell=bash
# Parts of unpacked Debian packages: modules with all they need, programs with their libraries. Sourced, never run.
#
#   kernel_index MODULES              read the indexes of the folder MODULES (.../lib/modules/RELEASE, after depmod)
#   kernel_choose STAGE NAME          fill stage_of[FILE] for a module and what it depends on
#   place_program ROOT FILE UNPACKED  copy a program as ROOT/usr/bin/NAME, and the libraries that it names, found by reading it
#   first PATH...                     the first that exists
#   stamp DIR, digest FILE, commas    for equal bytes, and for manifests

first() {
    local path
    for path in "$@"; do
        [ -e "$path" ] && printf '%s\n' "$path" && return
    done
    die "a package lacks $1"
}

stamp() { find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +; }
digest() { sha256sum <"$1" | cut -d ' ' -f 1; }
commas() { sed '$!s/$/,/'; }

# A module's name as the kernel says it.
module_name() {
    local name=${1##*/}
    name=${name%%.ko*}
    printf '%s\n' "${name//-/_}"
}

# depends[NAME] is "file dependency-files...", softdeps[NAME] are names, builtin[NAME] is set for what the kernel has in it.
declare -A depends softdeps builtin stage_of
kernel_index() {
    local line name word rest
    while read -r line; do
        name=$(module_name "${line%%:*}")
        depends[$name]="${line%%:*}${line#*:}"
    done <"$1/modules.dep"
    while read -r line; do
        builtin[$(module_name "$line")]=1
    done <"$1/modules.builtin"
    while read -r word name rest; do
        [ "$word" = softdep ] || continue
        for word in $rest; do
            case $word in *:) ;; *) softdeps[${name//-/_}]+=" ${word//-/_}" ;; esac
        done
    done <"$1/modules.softdep"
}

# The stage that chose a file first keeps it.
kernel_choose() { # STAGE NAME
    local file name=${2//-/_}
    if [ -z "${depends[$name]:-}" ]; then
        [ -n "${builtin[$name]:-}" ]
        return
    fi
    for file in ${depends[$name]}; do
        [ -z "${stage_of[$file]:-}" ] || continue
        stage_of[$file]=$1
        for name in ${softdeps[$(module_name "$file")]:-}; do
            kernel_choose "$1" "$name" || true
        done
    done
}

place_program() { # ROOT FILE UNPACKED
    local root=$1 unpacked=$3 queue=() file lib
    install -D -m 755 "$(first "$unpacked/usr/sbin/$2" "$unpacked/usr/bin/$2" "$unpacked/sbin/$2")" "$root/usr/bin/$2"
    queue=("$root/usr/bin/$2")
    while [ ${#queue[@]} -gt 0 ]; do
        file=${queue[0]}
        queue=("${queue[@]:1}")
        for lib in $(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
            [ ! -e "$root/usr/lib/$lib" ] || continue
            install -D -m 755 "$(first "$unpacked"/usr/lib/*-linux-gnu*/"$lib" "$unpacked"/lib/*-linux-gnu*/"$lib")" \
                "$root/usr/lib/$lib"
            queue+=("$root/usr/lib/$lib")
        done
    done
}
