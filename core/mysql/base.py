"""Django's backend for MySQL and MariaDB, which tries a connection that was lost once more."""

import time
from typing import Any

from django.db.backends.mysql import base

# A server that woke up, or was started again, while we connected: refused, gone, lost, shutting
# down, and Tencent's own "is resuming".
LOST = {2003, 2006, 2013, 1053, 9449}
PAUSE = 0.2  # seconds
AT_ONCE = 1.0  # what takes longer is a server that hangs, which a second wait does not help


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, but a connection that fails at once is tried a second time.

    WeChat Cloud Run's database refuses the first connection after it has slept. Nothing is written
    before a connection is there, so the request loses nothing by it.
    """

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection. Raises OperationalError where the second attempt fails as well."""
        begun = time.monotonic()
        try:
            return super().get_new_connection(conn_params)
        except self.Database.OperationalError as error:
            was_lost = bool(error.args) and error.args[0] in LOST
            if not was_lost or time.monotonic() - begun > AT_ONCE:
                raise
        time.sleep(PAUSE)
        return super().get_new_connection(conn_params)
