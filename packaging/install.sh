#!/bin/sh
# Install or remove Ackpost without a compiler.
#
#   sh install.sh                       install from the folder of this script
#   sh install.sh --from FOLDER|URL     install from another folder, or from an https:// address
#   sh install.sh --uninstall           remove exactly the files that were installed
#
#   --prefix DIR     where to install (default: /usr/local for root, else ~/.local)
#   --sha256 HASH    expected hash of the tarball; without it, the hash in SHA256SUMS of the same source counts
#   --apprise        also install the name `apprise`, for scripts that call Apprise
#
# Needs tar, gzip, sha256sum (or shasum) and, for an address, curl or wget.
set -eu
umask 022

fail() { printf 'error: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  %s\n' "$2" >&2; exit 1; }
usage() { sed -n '2,/^# Needs/s/^# \{0,1\}//p' "$0"; }

from='' prefix='' expected='' action=install apprise=no
while [ $# -gt 0 ]; do
    case $1 in
        --from | --prefix | --sha256)
            [ $# -ge 2 ] || fail "\`$1\` needs a value" "see: sh install.sh --help"
            case $1 in --from) from=$2 ;; --prefix) prefix=$2 ;; --sha256) expected=$2 ;; esac
            shift ;;
        --apprise) apprise=yes ;;
        --uninstall) action=uninstall ;;
        -h | --help) usage; exit 0 ;;
        *) fail "unknown option \`$1\`" "see: sh install.sh --help" ;;
    esac
    shift
done
if [ -z "$prefix" ]; then
    if [ "$(id -u)" = 0 ]; then prefix=/usr/local; else prefix=${HOME:?}/.local; fi
fi
case $prefix in /*) ;; *) prefix=$(pwd)/$prefix ;; esac
list=$prefix/share/ackpost/installed-files

# Removes the files named on standard input, and the folders that are empty then.
remove() {
    while IFS= read -r file; do
        case $file in /* | *..* | '') fail "the list of installed files is damaged: $list" "remove the files yourself" ;; esac
        rm -f "$prefix/$file"
        folder=$file
        while [ "$folder" != "${folder%/*}" ]; do
            folder=${folder%/*}
            rmdir "$prefix/$folder" 2>/dev/null || break
        done
    done
}

if [ "$action" = uninstall ]; then
    [ -f "$list" ] || fail "nothing is installed in $prefix" "name the folder with --prefix DIR"
    kept=$(mktemp)
    cp "$list" "$kept"
    remove <"$kept"
    rm -f "$kept"
    echo "removed Ackpost from $prefix; your configuration, keys and stored messages are kept"
    exit 0
fi

if [ -z "$from" ]; then
    from=$(dirname "$0")
    [ -f "$from/SHA256SUMS" ] || fail "no release files beside this script" "name them: sh install.sh --from FOLDER|URL"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# fetch URL FILE SCHEMES: downloads over these schemes, also after a redirect.
fetch() {
    if command -v curl >/dev/null; then
        curl -fsSL --proto "=$3" --proto-redir "=$3" --max-time 600 -o "$2" "$1"
        return
    fi
    command -v wget >/dev/null ||
        fail "neither curl nor wget is installed" "install one, or download the files and name their folder"
    # wget follows a redirect to any scheme, so each one is looked at here.
    wget --help 2>&1 | grep -q -e --max-redirect ||
        fail "this wget cannot refuse a redirect to plain http" "install curl, or download the files and name their folder"
    address=$1
    for _ in 1 2 3 4 5 6; do
        case ,$3, in *",${address%%://*},"*) ;; *) return 1 ;; esac
        if answer=$(LC_ALL=C wget -q -S --max-redirect=0 -T 600 -O "$2" "$address" 2>&1); then return 0; fi
        address=$(printf '%s\n' "$answer" | sed -n 's/^ *[Ll]ocation: *\([^ ]*\).*$/\1/p' | tail -n 1)
    done
    return 1
}

# get NAME: copies a file of the source into the work folder.
get() {
    case $from in
        https://*) fetch "${from%/}/$1" "$work/$1" https ;;
        http://*@*) fail "refusing plain http with a name in the address" "use an https:// address" ;;
        http://127.0.0.1 | http://127.0.0.1[:/]* | http://localhost | http://localhost[:/]*)
            fetch "${from%/}/$1" "$work/$1" http,https ;;
        http://*) fail "refusing plain http: anyone on the way could change the files" "use an https:// address" ;;
        *) cp "$from/$1" "$work/$1" 2>/dev/null ;;
    esac || fail "cannot read $1 from $from" "check the folder or address"
}

case $(uname -s) in
    Linux) system=unknown-linux ;;
    Darwin) system=apple-darwin ;;
    *) fail "no prebuilt program for $(uname -s)" "build it: cargo install --locked --path crates/ackpost" ;;
esac
machine=$(uname -m)
case $machine in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; esac

get SHA256SUMS
name=$(sed -n "s/^[0-9a-f]\{64\} [ *]\(ackpost-[0-9][A-Za-z0-9.+~]*-$machine-$system[a-z-]*\.tar\.gz\)\$/\1/p" "$work/SHA256SUMS" | tail -n 1)
[ -n "$name" ] || fail "no program for $machine-$system in $from" "build it: cargo install --locked --path crates/ackpost"
[ -n "$expected" ] || expected=$(sed -n "s/^\([0-9a-f]\{64\}\) [ *]$name\$/\1/p" "$work/SHA256SUMS")
get "$name"
if command -v sha256sum >/dev/null; then found=$(sha256sum "$work/$name"); else found=$(shasum -a 256 "$work/$name"); fi
found=${found%% *}
[ "$found" = "$expected" ] || fail "$name is not the expected file (SHA-256 $found instead of $expected)" \
    "download it again; nothing was installed"

top=${name%.tar.gz}
tar -tzf "$work/$name" >"$work/names" 2>/dev/null || fail "$name cannot be read" "download it again; nothing was installed"
if grep -v "^$top/" "$work/names" | grep -q . || grep -q '\.\.' "$work/names"; then
    fail "$name has files outside of $top/" "get it from another source; nothing was installed"
fi
tar -xzf "$work/$name" -C "$work"
code=0
"$work/$top/bin/ackpost" --version >"$work/version" 2>/dev/null || code=$?
case $code in
    0) ;;
    126) fail "no program can be started in $work (is it mounted noexec?)" "name another folder: TMPDIR=\"\$HOME\" sh install.sh …" ;;
    *) fail "the program does not run on this machine" "build it: cargo install --locked --path crates/ackpost" ;;
esac
[ "$apprise" = yes ] || rm -f "$work/$top/bin/apprise"

mkdir -p "$prefix/share/ackpost" 2>/dev/null || fail "cannot write to $prefix" "name another folder with --prefix DIR, or run it as root"
(cd "$work/$top" && find . \( -type f -o -type l \) | sed 's|^\./||' | sort) >"$work/new"
echo share/ackpost/installed-files >>"$work/new"
if [ "$apprise" = yes ] && [ -e "$prefix/bin/apprise" ] && ! { [ -f "$list" ] && grep -qx bin/apprise "$list"; }; then
    fail "$prefix/bin/apprise exists and is not Ackpost's" "leave out --apprise, or remove that file first"
fi
sed 's|/[^/]*$||' "$work/new" | sort -u | while IFS= read -r folder; do mkdir -p "$prefix/$folder"; done
while IFS= read -r file; do
    [ "$file" != share/ackpost/installed-files ] || continue
    # A rename: a running program keeps its file, and no half of one is ever visible.
    cp -P "$work/$top/$file" "$prefix/$file.new" && mv -f "$prefix/$file.new" "$prefix/$file" ||
        fail "cannot write $prefix/$file" "check the permissions and the free space, then run it again"
done <"$work/new"
# An upgrade removes the files that the new version no longer has.
if [ -f "$list" ]; then
    sort "$work/new" >"$work/new.sorted"
    sort "$list" | comm -23 - "$work/new.sorted" >"$work/old"
fi
cp "$work/new" "$list"
[ ! -s "$work/old" ] || remove <"$work/old"

echo "installed $(head -n 1 "$work/version") in $prefix"
case :$PATH: in
    *":$prefix/bin:"*) echo "try: ackpost demo" ;;
    *) echo "add it to your PATH: export PATH=\"$prefix/bin:\$PATH\"" ;;
esac
