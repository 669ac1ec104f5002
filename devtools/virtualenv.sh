#!/bin/sh
# Make or update the virtual environment with provider-gateway, and with an extra of it, such as "dev":
# virtualenv.sh PYTHON FOLDER [EXTRA [CONSTRAINTS]]; CONSTRAINTS are constraints.txt if not given.
set -eu
python=$1 venv=$2 extra=${3:+[$3]} constraints=${4:-constraints.txt}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "$python is missing or older than 3.11. On Debian 12 or later, as root:  apt-get install python3" >&2
    echo "Another interpreter:  make PYTHON=/path/to/python3.11 …" >&2
    exit 1
}
if [ ! -x "$venv/bin/python" ]; then
    PYTHON=$python sh "$(dirname "$0")/system.sh" python3-venv
    echo "Making the virtual environment $venv"
    "$python" -m venv "$venv"
fi
echo "Installing provider-gateway$extra into $venv (up to a minute the first time)"
# editable_mode=compat: puts this folder on the path, where Twisted looks for its plugins.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$constraints" --config-settings editable_mode=compat --editable ".$extra"
