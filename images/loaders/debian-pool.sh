# shellcheck shell=bash
# Pinned Debian packages for the scripts that build what hosts boot. Sourced, never run.
#
#   pool_open SUITE ARCH [MIRROR]     choose the private apt state for this suite and architecture
#   pool_fetch LOCK DIR PACKAGE...    put the locked .debs into DIR, as PACKAGE.deb
#   pool_lock PACKAGE...              print lock lines for the suite's newest versions
#   pool_unpack DEB DIR               unpack a .deb's files
#
# A lock line is: suite architecture package version sha256.
# The host's own apt state is read for its mirror and its Acquire settings (proxy) and never changed.

RACKBERRY_CACHE=${RACKBERRY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rackberry}
POOL_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
POOL_COMPONENTS='main non-free-firmware'

say() { printf 'rackberry: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

need() {
    local tool missing=()
    for tool in "$@"; do
        command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
    done
    [ ${#missing[@]} = 0 ] || die "missing here: install the packages ${missing[*]}"
}

# The mirror a person named, else the one the machine's own apt uses for Debian.
pool_mirror() {
    if [ -n "${RACKBERRY_MIRROR:-}" ]; then
        printf '%s\n' "$RACKBERRY_MIRROR"
        return
    fi
    # shellcheck disable=SC2016  # the words in $() are apt's, not the shell's
    apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 2>/dev/null |
        sed -n 's/^Debian|Debian|//p' | sort -u | head -n 1
}

pool_open() {
    POOL_SUITE=$1 POOL_ARCH=$2
    need apt-get dpkg-deb:dpkg sha256sum:coreutils
    [ -r "$POOL_KEYRING" ] || die "missing here: install the package debian-archive-keyring"
    POOL_MIRROR=${3:-$(pool_mirror)}
    POOL_STATE=$RACKBERRY_CACHE/apt/$POOL_SUITE-$POOL_ARCH
    POOL_DEBS=$RACKBERRY_CACHE/debs
    POOL_FRESH=
    mkdir -p "$POOL_STATE"/{etc/preferences.d,etc/apt.conf.d,lists/partial,archives/partial} "$POOL_DEBS"
    : >"$POOL_STATE/status"
}

pool_apt() { APT_CONFIG=$POOL_STATE/apt.conf apt-get -qq "$@"; }

# Reads the suite's index once per run; only called when a .deb is not in the cache.
pool_refresh() {
    [ -z "$POOL_FRESH" ] || return 0
    [ -n "$POOL_MIRROR" ] || die "no Debian mirror known: set RACKBERRY_MIRROR or give --mirror URL"
    {
        apt-config dump | grep '^Acquire::' || true
        cat <<CONF
APT::Architecture "$POOL_ARCH";
APT::Architectures "$POOL_ARCH";
APT::Sandbox::User "root";
Dir "$POOL_STATE";
Dir::Etc "$POOL_STATE/etc";
Dir::Etc::sourcelist "$POOL_STATE/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "$POOL_STATE";
Dir::State::status "$POOL_STATE/status";
Dir::State::lists "$POOL_STATE/lists";
Dir::Cache "$POOL_STATE";
Dir::Cache::archives "$POOL_STATE/archives";
Acquire::Languages "none";
Acquire::Retries "2";
CONF
    } >"$POOL_STATE/apt.conf"
    printf 'deb [signed-by=%s] %s %s %s\n' "$POOL_KEYRING" "$POOL_MIRROR" "$POOL_SUITE" "$POOL_COMPONENTS" \
        >"$POOL_STATE/etc/sources.list"
    pool_apt update -o APT::Update::Error-Mode=any >"$POOL_STATE/update.log" 2>&1 ||
        die "the Debian mirror does not answer for $POOL_SUITE ($POOL_ARCH) and the package cache in $POOL_DEBS lacks something: connect this machine or set RACKBERRY_MIRROR (log: $POOL_STATE/update.log)"
    POOL_FRESH=1
}

# Downloads PACKAGE[=VERSION] into the cache and prints the file's name there. Fails quietly.
pool_download() {
    local dir deb sum
    dir=$(mktemp -d "$POOL_STATE/get.XXXXXX")
    if ! (cd "$dir" && pool_apt download "$1" >/dev/null 2>&1); then
        rm -rf "$dir"
        return 1
    fi
    deb=$(find "$dir" -name '*.deb' -print -quit)
    if [ -z "$deb" ]; then
        rm -rf "$dir"
        return 1
    fi
    sum=$(sha256sum <"$deb")
    sum=${sum%% *}
    mv -f "$deb" "$POOL_DEBS/$sum.deb"
    rm -rf "$dir"
    printf '%s\n' "$POOL_DEBS/$sum.deb"
}

# The package that the suite's kernel metapackage stands for; its name holds the kernel's version.
pool_newest_kernel() {
    pool_refresh
    APT_CONFIG=$POOL_STATE/apt.conf apt-cache depends "linux-image-$POOL_ARCH" |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

pool_fetch() {
    local lock=$1 dir=$2 package suite arch name version sum deb newest
    shift 2
    mkdir -p "$dir"
    for package in "$@"; do
        read -r suite arch name version sum < <(
            awk -v s="$POOL_SUITE" -v a="$POOL_ARCH" -v p="$package" '$1 == s && $2 == a && $3 == p' "$lock"
        ) || die "$lock has no line for $package in $POOL_SUITE $POOL_ARCH"
        deb=$POOL_DEBS/$sum.deb
        if [ ! -s "$deb" ]; then
            pool_refresh
            if deb=$(pool_download "$name=$version"); then
                [ "$deb" = "$POOL_DEBS/$sum.deb" ] ||
                    die "$name $version from the mirror has another SHA-256 than $lock says: refusing it"
            else
                newest=$name
                # Late kernels come in parts, each with the version in its name.
                case $name in
                linux-image-[0-9]* | linux-base-[0-9]* | linux-binary-[0-9]* | linux-modules-[0-9]*)
                    newest=$(pool_newest_kernel)
                    newest=${name%%-[0-9]*}-${newest#linux-image-}
                    ;;
                esac
                deb=$(pool_download "$newest") || die "cannot download $name ($suite $arch) from $POOL_MIRROR"
                say "warning: $name $version is gone from $suite ($arch); took $newest $(dpkg-deb -f "$deb" Version), whose signature apt verified. Renew ${lock##*/}."
            fi
        fi
        ln -sf "$deb" "$dir/$name.deb"
    done
}

pool_lock() {
    local package deb sum
    pool_refresh
    for package in "$@"; do
        deb=$(pool_download "$package") || die "cannot download $package ($POOL_SUITE $POOL_ARCH) from $POOL_MIRROR"
        sum=${deb##*/}
        printf '%s %s %s %s %s\n' "$POOL_SUITE" "$POOL_ARCH" "$package" "$(dpkg-deb -f "$deb" Version)" "${sum%.deb}"
    done
}

pool_unpack() {
    mkdir -p "$2"
    dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --no-same-owner
}
