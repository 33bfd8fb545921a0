# The entrypoint of the image puts the password of this file into its environment, which the server
# inherits: it is named at the first start only, when initdb needs it (see initialised.sh).
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    export POSTGRES_PASSWORD_FILE=/run/secrets/postgres_superuser
fi
exec docker-entrypoint.sh "$@"
