#!/bin/bash
# Install the S3-compatible server of the tests, s3s-fs (Apache-2.0, https://github.com/Nugine/s3s), from crates.io, where
# it is missing; print the path of its program. It keeps objects as files and checks every signature. It is built once,
# outside of the workspace, so that its dependencies are not ours.
set -eu
version=0.14.1
root=${ACKPOST_TEST_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/ackpost-tests}/s3s-fs-$version
bin=$root/bin/s3s-fs
if [ ! -x "$bin" ]; then
    echo "building s3s-fs $version" >&2
    mkdir -p "$root"
    build=$(mktemp -d "$root/build-XXXXXX")
    trap 'rm -rf -- "$build"' EXIT
    (
        # Two runs at a time build it once.
        flock 9
        [ -x "$bin" ] || CARGO_TARGET_DIR=$build CARGO_PROFILE_DEV_DEBUG=0 \
            cargo install s3s-fs --version "$version" --locked --features binary --debug --quiet --root "$root" >&2
    ) 9>"$root/lock"
fi
echo "$bin"
