"""PostgreSQL 15 with exactly the site's settings."""

import pytest
from testinfra.host import Host

from stack.site import Site


def _query(host: Host, site: Site, sql: str) -> str:
    service = site.services.postgres
    if not service.enabled:
        pytest.skip("the site runs no PostgreSQL")
    return host.check_output(
        "docker exec %s psql -U postgres -d %s -qtAc %s",
        service.container,
        site.postgres.database,
        sql,
    )


def test_version(host: Host, site: Site) -> None:
    assert _query(host, site, "SHOW server_version").startswith("15.")


def test_setting(host: Host, site: Site, setting: str) -> None:
    wanted = site.postgres.settings[setting]
    shown = f"current_setting('{setting}')"
    same = f"SELECT {shown} = '{wanted}' OR pg_size_bytes({shown}) = pg_size_bytes('{wanted}')"
    assert _query(host, site, f"SHOW {setting}") == wanted or _query(host, site, same) == "t"


def test_no_setting_waits_for_a_restart(host: Host, site: Site) -> None:
    assert _query(host, site, "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0"


def test_the_exporter_only_reads(host: Host, site: Site) -> None:
    sql = (
        "SELECT string_agg(DISTINCT privilege_type, ',') FROM information_schema.role_table_grants"
        " WHERE grantee = 'agent_exporter'"
    )
    assert _query(host, site, sql) == "SELECT"


def test_passwords_are_scram(host: Host, site: Site) -> None:
    sql = (
        "SELECT count(*) FROM pg_authid WHERE rolcanlogin AND rolpassword NOT LIKE 'SCRAM-SHA-256%'"
    )
    assert _query(host, site, sql) == "0"
