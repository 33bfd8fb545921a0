#!/bin/sh
# Debian's package would give the user another number than the official image's, and make a cluster.
set -eu
root=$1
echo 'postgres:x:999:999:PostgreSQL:/var/lib/postgresql:/bin/bash' >>"$root/etc/passwd"
echo 'postgres:x:999:' >>"$root/etc/group"
mkdir -p "$root/etc/postgresql-common"
echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
