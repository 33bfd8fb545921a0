#!/usr/bin/env bash
# Starts PostgreSQL as the official image does: https://hub.docker.com/_/postgres describes the variables.
set -Eeuo pipefail

INIT_FILES=/docker-entrypoint-initdb.d

fail() {
    echo "docker-entrypoint: $*" >&2
    exit 1
}

# Sets NAME from the file that NAME_FILE names, or else to its own value or the default.
read_setting() {
    local name=$1 default=${2-} file_name=${1}_FILE
    local value=${!name-} file=${!file_name-}
    [[ -z $value || -z $file ]] || fail "$name and $file_name are both set; set one of them"
    if [[ -n $file ]]; then
        [[ -r $file ]] || fail "$file_name is $file, which cannot be read"
        value=$(<"$file")
    fi
    export "$name=${value:-$default}"
    unset "$file_name"
}

own_directories_and_drop_root() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 0700 "$PGDATA"
    find "$PGDATA" \! -user postgres -exec chown postgres: {} +
    chown postgres: /var/run/postgresql
    chmod 3775 /var/run/postgresql
    export HOME=/var/lib/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
}

query() {
    psql --no-psqlrc --no-password --quiet --set=ON_ERROR_STOP=1 \
        --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" "$@"
}

create_cluster() {
    local method
    eval "local options=($POSTGRES_INITDB_ARGS)"
    if [[ -n $POSTGRES_PASSWORD ]]; then
        initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${options[@]}"
    else
        initdb --username="$POSTGRES_USER" "${options[@]}"
    fi
    method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption "${@:2}")}
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

create_database() {
    POSTGRES_DB=postgres query --set=name="$POSTGRES_DB" <<'SQL'
SELECT format('CREATE DATABASE %I', :'name')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SQL
}

run_init_files() {
    local file
    for file in "$INIT_FILES"/*; do
        case $file in
            *.sh)
                echo "docker-entrypoint: running $file"
                # shellcheck disable=SC1090
                if [[ -x $file ]]; then "$file"; else . "$file"; fi
                ;;
            *.sql) echo "docker-entrypoint: running $file" && query --file="$file" ;;
            *.sql.gz) echo "docker-entrypoint: running $file" && gunzip --stdout "$file" | query ;;
            "$INIT_FILES/*") ;;
            *) echo "docker-entrypoint: ignoring $file" ;;
        esac
    done
}

initialise() {
    [[ -n $POSTGRES_PASSWORD || ${POSTGRES_HOST_AUTH_METHOD-} == trust ]] ||
        fail "the database is not initialised and no superuser password is given; set POSTGRES_PASSWORD_FILE"
    create_cluster "$@"
    # Clients must not take the server of the initialisation for the real one: it has no TCP port.
    pg_ctl --wait start \
        --options="$(printf '%q ' "${@:2}" -c listen_addresses= -c port="${PGPORT:-5432}")"
    create_database
    run_init_files
    pg_ctl --wait --mode=fast stop
    echo "docker-entrypoint: initialised; starting the server"
}

[[ ${1-} != -* ]] || set -- postgres "$@"

if [[ ${1-} == postgres && ! " ${*:2} " =~ \ (-\?|--help|--describe-config|-V|--version)\  ]]; then
    read_setting POSTGRES_PASSWORD
    read_setting POSTGRES_USER postgres
    read_setting POSTGRES_DB "$POSTGRES_USER"
    read_setting POSTGRES_INITDB_ARGS
    [[ $(id -u) != 0 ]] || own_directories_and_drop_root "$@"
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA" 2>/dev/null || fail "$PGDATA must belong to uid $(id -u), which runs this"
    if [[ -s $PGDATA/PG_VERSION ]]; then
        echo "docker-entrypoint: $PGDATA holds a database; nothing is initialised"
    else
        initialise "$@"
    fi
fi

exec "$@"
