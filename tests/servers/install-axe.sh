#!/bin/bash
# Install axe-core (MPL-2.0), which checks the accessibility of the pages in the tests, from the npm registry, where it is
# missing; print the path of its file. It is used by tests alone and is part of nothing that is shipped.
set -eu
version=4.14.1
root=${ACKPOST_TEST_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/ackpost-tests}/axe-core-$version
file=$root/node_modules/axe-core/axe.min.js
if [ ! -s "$file" ]; then
    echo "fetching axe-core $version" >&2
    mkdir -p "$root"
    (
        # Two runs at a time fetch it once.
        flock 9
        [ -s "$file" ] || npm install --prefix "$root" --no-save --ignore-scripts --no-audit --no-fund --silent \
            "axe-core@$version" >&2 </dev/null
    ) 9>"$root/lock"
fi
[ -s "$file" ] || { echo "axe-core was not installed" >&2; exit 1; }
echo "$file"
