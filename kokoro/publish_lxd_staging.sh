#!/bin/sh
set -e
cd "$KOKORO_ARTIFACTS_DIR/git/cros-container-guest-tools"
exec ./run invoke publish-lxd-staging
