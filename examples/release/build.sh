#!/bin/sh
# Builds the release: three words.
set -e
printf '%s\n' good release today > "$TITAN_SHARED/release.txt.part"
mv "$TITAN_SHARED/release.txt.part" "$TITAN_SHARED/release.txt"
