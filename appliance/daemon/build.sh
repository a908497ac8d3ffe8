#!/bin/sh
# Builds rackberry itself as one static, stripped program for --arch, at --out, and prints its size. --quick: hardly optimised,
# for tests, in less time and more bytes.
#
# SQLite is C, so that another architecture needs a C compiler: zig, which holds the compilers and C libraries of all of them in
# one Python wheel. Version and hash of it are pinned in build-requirements.txt; it is unpacked into --tools and nowhere else.
# Where no wheel can be had, gcc-aarch64-linux-gnu serves: --with-gcc.
set -eu

usage() {
    echo "usage: build.sh --arch x86_64|aarch64 --out FILE [--tools FOLDER] [--with-gcc] [--quick]" >&2
    exit 2
}

say() { printf '%s\n' "rackberry: $*" >&2; }

arch='' out='' tools='' gcc='' profile=release
while [ $# -gt 0 ]; do
    case $1 in
    --with-gcc)
        gcc=yes
        shift
        continue
        ;;
    --quick)
        profile=dev
        shift
        continue
        ;;
    esac
    [ $# -ge 2 ] || usage
    case $1 in
    --arch) arch=$2 ;;
    --out) out=$2 ;;
    --tools) tools=$2 ;;
    *) usage ;;
    esac
    shift 2
done
case $arch in
x86_64 | aarch64) ;;
*) usage ;;
esac
[ -n "$out" ] || usage
mkdir -p "$(dirname "$out")"
out=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")
tools=${tools:-${XDG_CACHE_HOME:-$HOME/.cache}/rackberry/zig}

cd "$(dirname "$0")"
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/../../target}
export CARGO_TARGET_DIR
target=$arch-unknown-linux-musl
[ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || {
    say "rustc has no target $target here; 'rustup target add $target' brings it"
    exit 1
}
began=$(date +%s)
if [ $profile = dev ]; then
    # Without any optimising a program that an emulator runs is too slow to serve a machine; one of this machine's kind is not.
    [ "$arch" = "$(uname -m)" ] || export CARGO_PROFILE_DEV_OPT_LEVEL=1
    export CARGO_PROFILE_DEV_DEBUG=false CARGO_PROFILE_DEV_STRIP=true
fi

if [ -n "$gcc" ]; then
    # musl names no 64-bit twins of its file functions; without the flag SQLite asks glibc's headers for them.
    LIBSQLITE3_FLAGS=-DSQLITE_DISABLE_LFS
    export LIBSQLITE3_FLAGS
    export "CC_$(echo "$target" | tr - _)=$arch-linux-gnu-gcc"
    upper=$(echo "$target" | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${upper}_LINKER=$arch-linux-gnu-gcc"
    cargo build --locked --profile $profile -p rackberry --target "$target" >&2
else
    pinned=$(sha256sum build-requirements.txt | cut -c1-16)
    if [ ! -x "$tools/$pinned/bin/cargo-zigbuild" ]; then
        say "taking cargo-zigbuild and zig into $tools"
        rm -rf "$tools"
        mkdir -p "$tools"
        python3 -m venv "$tools/incoming" >&2
        "$tools/incoming/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
            --require-hashes -r build-requirements.txt >&2
        # Whole or not at all; what is used of it needs no path written into it.
        mv "$tools/incoming" "$tools/$pinned"
    fi
    # zig keeps compiled C libraries; beside it, and not in the home of whoever builds.
    ZIG_GLOBAL_CACHE_DIR=$tools/cache
    CARGO_ZIGBUILD_PYTHON_PATH=$tools/$pinned/bin/python
    PATH=$tools/$pinned/bin:$PATH
    export ZIG_GLOBAL_CACHE_DIR CARGO_ZIGBUILD_PYTHON_PATH PATH
    cargo zigbuild --locked --profile $profile -p rackberry --target "$target" >&2
fi

[ $profile = release ] && folder=release || folder=debug
cp "$CARGO_TARGET_DIR/$target/$folder/rackberry" "$out.tmp"
mv "$out.tmp" "$out"
say "$target, $(stat -c %s "$out") bytes, built in $(($(date +%s) - began)) s"
