#!/usr/bin/env bash
# Run a command beside a PostgreSQL server of its own: with_postgresql.sh COMMAND...
# The server's programs must be installed (Debian: postgresql); it listens on loopback and is gone afterwards.
set -euo pipefail
programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1 || true)
[ -n "$programs" ] || programs=$(dirname "$(command -v pg_ctl)") || { echo "PostgreSQL's programs are not installed" >&2; exit 1; }
folder=$(mktemp -d)
port=${POSTGRESQL_PORT:-55432}
as=()
if [ "$(id -u)" = 0 ]; then  # PostgreSQL refuses to run as root
    chown postgres "$folder"
    as=(runuser -u postgres --)
fi
"${as[@]}" "$programs/initdb" -D "$folder/data" -A trust -U postgres >/dev/null
"${as[@]}" "$programs/pg_ctl" -D "$folder/data" -o "-p $port -k $folder -h 127.0.0.1" -l "$folder/log" -w start >/dev/null
trap '"${as[@]}" "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null; rm -rf "$folder"' EXIT
KGSERVICE_TEST_DATABASE_URL="postgresql://postgres@127.0.0.1:$port/postgres" "$@"
