"""`grafana cli admin reset-admin-password --password-from-stdin`, and nothing else of `grafana`."""

import os
import sys

from . import StandInError, environment
from .accounts import reset_password

COMMAND = ["cli", "admin", "reset-admin-password", "--password-from-stdin"]


def main() -> int:
    if sys.argv[1:] != COMMAND:
        print(f"grafana lab stand-in: only `grafana {' '.join(COMMAND)}` is there", file=sys.stderr)
        return 1
    try:
        settings = environment.load(os.environ)
        reset_password(settings.data, settings.admin_user, sys.stdin.read().rstrip("\n"))
    except StandInError as error:
        print(f"grafana lab stand-in: {error}", file=sys.stderr)
        return 1
    print("Admin password changed successfully ✔")
    return 0


if __name__ == "__main__":
    sys.exit(main())
