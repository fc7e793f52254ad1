#!/bin/sh
# A base image with Python, made from Debian's packages alone: no registry is asked for anything.
set -eu

TAG=mlops/base:debian
SUITE=bookworm
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
PACKAGES=python3,ca-certificates,libstdc++6,tzdata
EXTRA=
FORCE=

help() {
    cat <<TEXT
Usage: docker/base.sh [--force] [--with PACKAGE[,PACKAGE]] [TAG]

Makes the image TAG (default $TAG) from Debian's packages ($SUITE: $PACKAGES)
with debootstrap, as root, and imports it into the Docker engine. Where TAG is there already,
nothing is done. Takes less than a minute and some 200 MB.

  --force            make it again where it is there
  --with PACKAGES    more of Debian's packages, separated by commas

DEBIAN_MIRROR names another mirror than $MIRROR; http_proxy is obeyed.

Example: build runtime images on it where python:3.11-slim cannot be pulled:
  docker/base.sh && export BASE_IMAGE=$TAG
TEXT
}

fail() { echo "docker/base.sh: $1" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case $1 in
        -h|--help) help; exit 0 ;;
        --force) FORCE=yes ;;
        --with) [ $# -gt 1 ] || fail "--with names no packages; see --help"; EXTRA=$2; shift ;;
        -*) fail "$1 is no option; see --help" ;;
        *) TAG=$1 ;;
    esac
    shift
done

command -v docker >/dev/null || fail "there is no docker here; install docker.io (Debian, Ubuntu)"
found=$(docker version --format '{{.Server.Version}}' 2>&1) ||
    fail "the Docker engine does not answer; start it, or point DOCKER_HOST to one"

if [ -z "$FORCE" ] && docker image inspect "$TAG" >/dev/null 2>&1; then
    echo "$TAG is there already (engine $found); --force makes it again"
    exit 0
fi
command -v debootstrap >/dev/null || fail "there is no debootstrap here; apt-get install debootstrap"
[ "$(id -u)" = 0 ] || fail "debootstrap needs root; run it with sudo"

work=$(mktemp -d "${TMPDIR:-/tmp}/mlops-base-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
# mktemp lets nobody else in, and the folder becomes the image's /.
mkdir "$work/root"
chmod 755 "$work/root"

echo "1/3 unpacking Debian $SUITE from $MIRROR ..."
debootstrap --variant=minbase --include="$PACKAGES${EXTRA:+,$EXTRA}" \
    "$SUITE" "$work/root" "$MIRROR" >"$work/log" 2>&1 ||
    fail "debootstrap failed: $(tail -n 3 "$work/log" | tr '\n' ' ')"

echo "2/3 leaving out what no server reads ..."
cd "$work/root"
rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* var/cache/debconf/*-old tmp/* \
    usr/share/doc/* usr/share/man/* usr/share/info/* usr/share/locale/*

echo "3/3 importing it as $TAG ..."
tar --sort=name --numeric-owner -c . | docker import \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' \
    --change 'CMD ["python3"]' \
    --message "docker/base.sh: Debian $SUITE" - "$TAG" >/dev/null ||
    fail "the engine did not take the image"
docker image inspect --format "$TAG: {{.Id}}, {{.Size}} bytes" "$TAG"
