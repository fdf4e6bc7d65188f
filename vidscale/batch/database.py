"""The databases of a batch and of an unfinished movie: SQLite in write-ahead mode, for one program at a time.

With exclusive locking it needs no shared memory, so that it may be on a network drive; `vidscale.batch.lock` ensures
that no other program has it open.
"""

import sqlite3
from pathlib import Path

from vidscale.errors import ConfigError

_SETTINGS = ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL")


def open_database(path: Path, tables: str, *, schema: int, remedy: str) -> sqlite3.Connection:
    """Opens a database, and creates it if missing.

    Args:
        path: the database.
        tables: SQL that creates the tables where they are missing.
        schema: version of the tables, 1 or more.
        remedy: what the user can do where it cannot be used, for the message.

    Raises:
        ConfigError: it is not a database, or has tables of another version; it is not changed then.
    """
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for setting in _SETTINGS:
            database.execute(f"PRAGMA {setting}")
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found in (0, schema):
            database.executescript(tables)
            database.execute(f"PRAGMA user_version={schema}")
            return database
    except sqlite3.DatabaseError as error:
        database.close()
        raise ConfigError(f"{path} cannot be used ({error}): {remedy}") from error
    database.close()
    raise ConfigError(f"{path} is of another version of vidscale: {remedy}")
