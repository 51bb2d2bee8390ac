#!/bin/sh
# Installs the Debian packages that the tests use and that are missing: a JDK for the .jar driver, and Redis, with which the store is
# compared and whose tools speak to it; libfaketime, by which clocks are set; nftables, by which networks are cut; and
# file systems with clones.
set -eu
missing=""
command -v javac >/dev/null 2>&1 || missing="$missing default-jdk-headless"
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
command -v redis-benchmark >/dev/null 2>&1 || missing="$missing redis-tools"
[ -n "$(find /usr/lib -name 'libfaketimeMT.so.1' 2>/dev/null)" ] || missing="$missing faketime"
command -v ip >/dev/null 2>&1 || [ -x /usr/sbin/ip ] || missing="$missing iproute2"
command -v nft >/dev/null 2>&1 || [ -x /usr/sbin/nft ] || missing="$missing nftables"
command -v mkfs.btrfs >/dev/null 2>&1 || [ -x /usr/sbin/mkfs.btrfs ] || missing="$missing btrfs-progs"
command -v mkfs.xfs >/dev/null 2>&1 || [ -x /usr/sbin/mkfs.xfs ] || missing="$missing xfsprogs"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then as_root=""; elif command -v sudo >/dev/null 2>&1; then as_root="sudo"; else
    echo "the tests need:$missing. Install them as root: apt-get install$missing" >&2
    exit 1
fi
command -v apt-get >/dev/null 2>&1 || { echo "the tests need$missing and this is no Debian: install them" >&2; exit 1; }
$as_root apt-get update -q
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends $missing
