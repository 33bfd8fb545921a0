"""Lab stand-in for Grafana: provisioning, its checks and the part of the API that verifies it."""

GRAFANA_VERSION = "12.4.4"
COMMIT = "lab stand-in"
EDITION = "lab stand-in"


class StandInError(Exception):
    """What stops the program; one sentence that names the value and what would be right."""
