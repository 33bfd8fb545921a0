# Says why PostgreSQL would not serve with its new files, and fails; runs in a throw-away container
# of the image and with the limits that are to serve. PGDATA is read-only at $DATA, the new files
# lie in $FILES, MEMORY is the container's memory in MiB. OURS: the toolkit made the volume;
# SERVES: PostgreSQL answers from it at the moment.
set -u
trial=/tmp/trial log=/tmp/trial.log
export PGDATA=$trial

refuse() {
    printf '%s\n' "$*"
    exit 1
}

# What PostgreSQL complained about, behind the path of the value where it names one.
complain() {
    complaint=$(grep -E '(FATAL|LOG|HINT|DETAIL|ERROR):|^initdb: ' "$log" | grep -vE 'contains errors|starting Post|listening on|database system' |
        sed -E 's/^.*(FATAL|LOG|HINT|DETAIL|ERROR): +//' | sed ':a;N;$!ba;s/\n/; /g')
    name=$(printf %s "$complaint" | sed -nE 's/^[^"]*parameter "([^"]+)".*/\1/p')
    refuse "postgres.settings${name:+.$name}: PostgreSQL refuses it: ${complaint:-$(tail -n 3 "$log")}"
}

image=$(postgres --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
found=$(cat "$DATA/PG_VERSION" 2>/dev/null)
if [ -n "$found" ] && [ "$found" != "$image" ]; then
    refuse "volume $VOLUME holds a cluster of PostgreSQL $found, but services.postgres.image is" \
        "PostgreSQL $image, which cannot read it: deploy an image of PostgreSQL $found, dump with" \
        "pg_dumpall, remove the volume, deploy PostgreSQL $image and restore the dump"
fi
if [ "$OURS" = yes ] && [ "$SERVES" != yes ] && [ -n "$(ls -A "$DATA")" ] &&
    [ ! -e "$DATA/saiga-stack.initialised" ]; then
    refuse "volume $VOLUME: PostgreSQL's first start was interrupted, and what it left never served;" \
        "remove it with \`docker rm --force $NAME; docker volume rm $VOLUME\` and deploy again"
fi

initdb --no-sync --auth=trust --username=postgres >"$log" 2>&1 || complain
options="-c config_file=$FILES/postgresql.conf -c hba_file=$FILES/pg_hba.conf"
needed=$(postgres -C shared_memory_size $options 2>"$log") || complain
if [ "$needed" -ge "$MEMORY" ]; then
    refuse "postgres.settings.shared_buffers: PostgreSQL would take $needed MiB of shared memory," \
        "but services.postgres.memory is $MEMORY MiB; give it less of it, a quarter at most"
fi
quiet="-c listen_addresses= -c unix_socket_directories=/tmp -c logging_collector=off"
pg_ctl start --wait --timeout=60 --log="$log" --options="$options $quiet" >/dev/null 2>&1 || complain
pg_ctl stop --mode=immediate >/dev/null
