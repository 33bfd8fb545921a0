"""The commands with which PostgreSQL tries its files and loads them."""

import shlex
from dataclasses import dataclass

from stack.docker.spec import OWNER_LABEL, OWNER_VALUE

# The database that every cluster has: initdb makes it last, so who answers from it is complete.
MAINTENANCE = "postgres"


def reload_command(container: str) -> str:
    """Load the settings; restart only when PostgreSQL itself says that one of them waits for it.

    Fails with the lines of the files that PostgreSQL does not take.
    """
    ask = f"docker exec {container} psql -U postgres -d {MAINTENANCE} -qXAtc"
    mistakes = (
        "SELECT format('%s line %s: %s %s', sourcefile, sourceline, name, error)"
        " FROM pg_file_settings WHERE error IS NOT NULL AND coalesce(name, '') NOT IN"
        " (SELECT name FROM pg_settings WHERE pending_restart)"
        " UNION ALL SELECT format('pg_hba.conf line %s: %s', line_number, error)"
        " FROM pg_hba_file_rules WHERE error IS NOT NULL"
    )
    return "\n".join(
        (
            f"before=$({ask} 'SELECT pg_conf_load_time()') || exit 1",
            f"{ask} 'SELECT pg_reload_conf()' >/dev/null || exit 1",
            "for try in $(seq 50); do loaded=$("
            f"{ask} \"SELECT pg_conf_load_time() > '$before'\");"
            ' if [ "$loaded" = t ]; then break; fi; sleep 0.1; done',
            f'mistakes=$({ask} "{mistakes}") || exit 1',
            'if [ -n "$mistakes" ]; then echo "$mistakes"; exit 1; fi',
            'if [ "$loaded" != t ]; then echo "PostgreSQL did not load its files"; exit 1; fi',
            f'if [ "$({ask} "SELECT count(*) FROM pg_settings WHERE pending_restart")" != 0 ];'
            f" then docker restart {container} >/dev/null; fi",
        )
    )


@dataclass(frozen=True)
class Trial:
    """The throw-away container in which PostgreSQL tries its new files; ``memory`` in bytes."""

    container: str
    image: str
    user: str
    volume: str
    memory: int
    script: str


def check_command(trial: Trial) -> str:
    """Try the files in folder ``$1`` before they replace those that serve; see the script."""
    ours = f"docker volume inspect --format '{{{{.Labels}}}}' {trial.volume} 2>/dev/null"
    serves = f"docker exec {trial.container} psql -U postgres -d {MAINTENANCE} -qtAc 'SELECT 1'"
    environment = {
        "DATA": "/data",
        "FILES": "/files",
        "MEMORY": str(trial.memory // 1024**2),
        "NAME": trial.container,
        "VOLUME": trial.volume,
    }
    run = [
        *("docker", "run", "--rm", "--network=none", f"--user={trial.user}"),
        *(f"--memory={trial.memory}", f"--memory-swap={trial.memory}"),
        *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--tmpfs=/tmp"),
        f"--mount=type=volume,source={trial.volume},target=/data,readonly,volume-nocopy",
        *(f"--env={name}={value}" for name, value in environment.items()),
    ]
    return "\n".join(
        (
            f"ours=no; case $({ours}) in *{OWNER_LABEL}:{OWNER_VALUE}*) ours=yes ;; esac",
            f"serves=no; if {serves} >/dev/null 2>&1; then serves=yes; fi",
            f"{shlex.join(run)} --env=OURS=$ours --env=SERVES=$serves"
            ' --mount=type=bind,source="$1",target=/files,readonly'
            f" --entrypoint=sh {trial.image} -c {shlex.quote(trial.script)}",
        )
    )
