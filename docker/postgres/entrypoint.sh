#!/bin/sh
# On an empty data folder: makes a cluster whose superuser has POSTGRES_PASSWORD, and runs what lies
# in /docker-entrypoint-initdb.d while nobody can connect from outside. Then starts the server.
set -eu

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?is not set: the superuser needs a password}"
    secret=$(mktemp)
    printf '%s' "$POSTGRES_PASSWORD" > "$secret"
    initdb --username=postgres --pwfile="$secret" --encoding=UTF8 \
        --auth-local=trust --auth-host=scram-sha-256 >/dev/null
    rm "$secret"
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --silent --options="-c listen_addresses=''" start
    for script in /docker-entrypoint-initdb.d/*.sh; do
        [ -e "$script" ] || continue
        echo "$0: running $script"
        # A half-made cluster would be taken for a whole one at the next start.
        sh "$script" || { pg_ctl --wait --mode=immediate stop; rm -rf "${PGDATA:?}"/*; exit 1; }
    done
    pg_ctl --wait --silent --mode=fast stop
fi
[ "$1" != postgres ] || set -- "$@" -c listen_addresses='*'
exec "$@"
