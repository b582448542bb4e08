#!/bin/bash
# Make a Debian 13 (trixie) tree with Prosody 13 and ejabberd 24.12, for tests of SASL2, Bind 2 and FAST.
#
#   make-trixie.sh TREE        about one minute and 400 MB; needs root and debootstrap
#   ACKPOST_TEST_TRIXIE=TREE   then tells the tests where it is
#
# MIRROR names another Debian mirror than deb.debian.org. A tree that is complete is left as it is.
set -eu

die() { echo "make-trixie: $*" >&2; exit 1; }
tree=${1:?usage: make-trixie.sh TREE}
case $tree in /*) ;; *) tree=$PWD/$tree ;; esac
[ -e "$tree/.complete" ] && exit 0
command -v debootstrap > /dev/null || die "no debootstrap (apt-get install debootstrap)"
[ "$(id -u)" = 0 ] || die "needs root"

debootstrap --variant=minbase trixie "$tree" "${MIRROR:-http://deb.debian.org/debian}"
# Nothing may be started inside the tree.
printf '#!/bin/sh\nexit 101\n' > "$tree/usr/sbin/policy-rc.d"
chmod 755 "$tree/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
chroot "$tree" apt-get -y --no-install-recommends install prosody prosody-modules ejabberd openssl
chroot "$tree" apt-get clean
touch "$tree/.complete"
