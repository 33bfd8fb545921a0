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


def test_nothing_overrides_the_settings(host: Host, site: Site) -> None:
    altered = "SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf'"
    assert _query(host, site, altered) == "0"
    overridden = (
        "SELECT coalesce(string_agg(DISTINCT rolname, ','), '') FROM pg_db_role_setting"
        " LEFT JOIN pg_roles ON pg_roles.oid = setrole"
    )
    assert _query(host, site, overridden) == "agent_exporter"


def test_only_scram_from_the_networks(host: Host, site: Site) -> None:
    sql = (
        "SELECT string_agg(DISTINCT type || ' ' || auth_method, ', ' ORDER BY type || ' ' ||"
        " auth_method) FROM pg_hba_file_rules"
    )
    assert _query(host, site, sql) == "host reject, host scram-sha-256, local peer"
    sql = (
        "SELECT string_agg(DISTINCT address, ',') FROM pg_hba_file_rules"
        " WHERE auth_method = 'scram-sha-256' AND user_name <> ARRAY['postgres']"
    )
    networks = {
        str(site.networks[n].subnet.network_address) for n in site.services.postgres.addresses
    }
    assert set(_query(host, site, sql).split(",")) == networks


def test_the_superuser_comes_from_no_network(host: Host, site: Site) -> None:
    """Inside the container it has the socket and, with its password, loopback."""
    name = site.services.postgres.container
    ask = "docker exec %s psql -w -U postgres -d postgres -h %s -c 'SELECT 1'"
    for address in map(str, site.services.postgres.addresses.values()):
        refused = host.run(ask, name, address)
        assert "pg_hba.conf rejects connection" in refused.stderr
    assert "no password supplied" in host.run(ask, name, "127.0.0.1").stderr


def test_checksums(host: Host, site: Site) -> None:
    assert _query(host, site, "SHOW data_checksums") == "on"


def test_roles(host: Host, site: Site) -> None:
    sql = (
        "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolcanlogin AND NOT"
        " (rolcreatedb OR rolcreaterole OR rolsuper OR rolreplication OR rolbypassrls)"
    )
    assert _query(host, site, sql) == "agent_exporter,project_api"
    sql = "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'agent'"
    assert _query(host, site, sql) == "project_api"
    sql = "SELECT array_to_string(rolconfig, ';') FROM pg_roles WHERE rolname = 'agent_exporter'"
    settings = set(_query(host, site, sql).split(";"))
    assert settings == {"statement_timeout=3s", "default_transaction_read_only=on"}


def test_extensions(host: Host, site: Site) -> None:
    found = _query(host, site, "SELECT string_agg(extname, ',') FROM pg_extension").split(",")
    assert set(found) >= set(site.postgres.extensions)
