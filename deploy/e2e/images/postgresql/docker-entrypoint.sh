#!/bin/bash
# Does what the official image's description promises of its entry point, as far
# as charts/postgresql asks for it: makes a database in an empty PGDATA with the
# files of docker-entrypoint-initdb.d, by a server that only the socket reaches.
set -euo pipefail

if [ "$1" = postgres ]; then
    mkdir -p "$PGDATA"
    chmod 700 "$PGDATA" # a volume's fsGroup may have opened it, which the server refuses
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        # shellcheck disable=SC2086 # the arguments are separate words
        initdb --username=postgres --pwfile="${POSTGRES_PASSWORD_FILE:?names no file with a password}" ${POSTGRES_INITDB_ARGS:-}
        pg_ctl --wait --options "$(printf '%q ' "${@:2}" --listen_addresses=)" start
        for file in /docker-entrypoint-initdb.d/*.sql; do
            echo "running $file"
            psql --set ON_ERROR_STOP=1 --no-password --no-psqlrc --file "$file"
        done
        pg_ctl --wait --mode fast stop
    fi
fi
exec "$@"
