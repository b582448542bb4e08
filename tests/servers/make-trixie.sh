#!/bin/bash
# Make a Debian 13 (trixie) tree with Prosody 13 and ejabberd 24.12, for tests of SASL2, Bind 2 and FAST.
#
#   make-trixie.sh TREE        about one minute and 400 MB the first time; needs root
#
# The tests make their own tree below the target folder, or use the one that ACKPOST_TEST_TRIXIE
# names. MIRROR names another Debian mirror. A complete tree is left as it is;
# of several that ask at once, one makes it and the others wait.
set -eu

die() { echo "make-trixie: $*" >&2; exit 1; }
tree=${1:?usage: make-trixie.sh TREE}
case $tree in /*) ;; *) tree=$PWD/$tree ;; esac
[ -e "$tree/.complete" ] && exit 0
[ "$(id -u)" = 0 ] || die "needs root, or ACKPOST_TEST_TRIXIE naming a tree that is there"
mkdir -p "$(dirname "$tree")"
exec 9> "$tree.lock"
flock 9
[ -e "$tree/.complete" ] && exit 0
command -v debootstrap > /dev/null || apt-get -y -qq install debootstrap || die "no debootstrap"

rm -rf --one-file-system "$tree"
log=$tree.log
(
    debootstrap --variant=minbase trixie "$tree" ${MIRROR:+"$MIRROR"}
    # Nothing may be started inside the tree.
    printf '#!/bin/sh\nexit 101\n' > "$tree/usr/sbin/policy-rc.d"
    chmod 755 "$tree/usr/sbin/policy-rc.d"
    export DEBIAN_FRONTEND=noninteractive LC_ALL=C
    chroot "$tree" apt-get -y --no-install-recommends install prosody prosody-modules ejabberd openssl
    chroot "$tree" apt-get clean
) > "$log" 2>&1 || die "failed, see $log"
touch "$tree/.complete"
