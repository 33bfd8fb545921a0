# Run by the image's entrypoint once initdb, the database and the password are done: without this
# file a later start can tell an interrupted first one.
touch "$PGDATA/saiga-stack.initialised"
sync "$PGDATA/saiga-stack.initialised" "$PGDATA"
# The entrypoint sources this file and becomes the server next, which has no use for the password.
unset POSTGRES_PASSWORD
