#!/bin/sh
# Make sure that programs are there, from Debian's packages if they are not: system.sh PACKAGE ...
# Where that is not possible, say which are missing and how to get them, and fail.
set -eu

present() {
    case $1 in
        rabbitmq-server) [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null ;;
        postgresql) command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 ;;
        pgbouncer) [ -x /usr/sbin/pgbouncer ] || command -v pgbouncer >/dev/null ;;
        chromium-driver) command -v chromedriver >/dev/null ;;
        libnss3-tools) command -v certutil >/dev/null ;;
        libc6-dev) [ -e /usr/include/stdlib.h ] ;;
        debian-archive-keyring) [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ;;
        python3-venv) "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

missing=
for package in "$@"; do
    present "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then as_root="sudo"; else as_root=none; fi
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
    echo "Missing:$missing" >&2
    echo "Get it on Debian or Ubuntu, as root:  apt-get install$missing" >&2
    exit 1
fi

echo "Installing from Debian's packages:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
    # RUNLEVEL=1 keeps a package from starting a server of its own: ours are private ones.
    # shellcheck disable=SC2086 # $missing is a list of words
    $as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >"$log" 2>&1
}
install || { $as_root apt-get update >"$log" 2>&1 && install; } || {
    tail -n 20 "$log" >&2
    echo "apt-get could not install:$missing. Mend the cause above, or install it in another way." >&2
    exit 1
}
for package in $missing; do
    present "$package" || { echo "$package was installed, but its program is not found." >&2; exit 1; }
done
