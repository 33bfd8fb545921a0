"""The administrator, kept in grafana.db: the password of the first start stays, as in Grafana."""

import hashlib
import hmac
import os
import sqlite3
import threading
from contextlib import closing
from functools import lru_cache
from pathlib import Path

from . import StandInError

SCHEMA = "CREATE TABLE IF NOT EXISTS user (login TEXT PRIMARY KEY, salt BLOB, password BLOB)"
MINIMUM_LENGTH = 4


class Accounts:
    """The users in one SQLite file; safe to call from several threads."""

    def __init__(self, directory: Path, admin_user: str, admin_password: str) -> None:
        """Open or create the file; the administrator is added when there is no user yet.

        Raises StandInError when the directory cannot be written.
        """
        self._lock = threading.Lock()
        path = directory / "grafana.db"
        try:
            self._database = sqlite3.connect(path, check_same_thread=False)
            with self._database:
                self._database.execute(SCHEMA)
                if not self._database.execute("SELECT 1 FROM user").fetchone():
                    salt = os.urandom(16)
                    row = (admin_user, salt, _hash(admin_password, salt))
                    self._database.execute("INSERT INTO user VALUES (?, ?, ?)", row)
        except sqlite3.Error as error:
            raise StandInError(f"database {path} cannot be opened: {error}") from error

    def accepts(self, login: str, password: str) -> bool:
        with self._lock:
            row = self._database.execute(
                "SELECT salt, password FROM user WHERE login = ?", (login,)
            ).fetchone()
        return row is not None and hmac.compare_digest(_hash(password, row[0]), row[1])

    def answers(self) -> bool:
        """Whether the database can be read."""
        try:
            with self._lock:
                return self._database.execute("SELECT login FROM user").fetchone() is not None
        except sqlite3.Error:
            return False

    def close(self) -> None:
        self._database.close()


def reset_password(directory: Path, login: str, password: str) -> None:
    """Give a user another password. StandInError when there is no such user or no database yet."""
    path = directory / "grafana.db"
    if not path.is_file():
        raise StandInError(f"there is no database {path}")
    if len(password) < MINIMUM_LENGTH:
        raise StandInError(f"the new password has to have {MINIMUM_LENGTH} characters at least")
    salt = os.urandom(16)
    with closing(sqlite3.connect(path)) as database, database:
        row = (salt, _hash(password, salt), login)
        done = database.execute("UPDATE user SET salt = ?, password = ? WHERE login = ?", row)
        if done.rowcount != 1:
            raise StandInError(f"there is no user {login}")


@lru_cache(maxsize=64)
def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 100_000)
