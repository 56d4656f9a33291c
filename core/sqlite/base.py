"""Django's backend for SQLite, whose files no other user of the machine may read."""

import os
from contextlib import suppress
from typing import Any

from django.db.backends.sqlite3 import base


class PrivateWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection; a file that is not there yet is made with the mode 0600.

        SQLite gives the files beside it (-wal, -shm) the mode of the file itself.
        """
        name = str(conn_params["database"])
        if not self.is_in_memory_db() and not name.startswith("file:"):
            with suppress(OSError):  # it is there, or SQLite will say why it cannot be
                os.close(os.open(name, os.O_CREAT | os.O_EXCL, 0o600))
        return super().get_new_connection(conn_params)


DatabaseWrapper = PrivateWrapper  # as Django looks for it
