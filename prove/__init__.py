"""`make prove`: long trials of what the tests try in short; each is a module with a `run(plan)`.

A trial never stops at its first failure: it says what failed and how to repeat it, goes on, and the
report at the end has all of it.
"""

APP_ID = "wxprove000000001"
PLAIN_APP_ID = "wxprove000000002"  # whose pushes are not sealed
APP_SECRET = "the-sandbox-takes-any"  # noqa: S105
PUSH_TOKEN = "groupsiteprove"  # noqa: S105
PUSH_KEY = "groupsiteprove".ljust(43, "0")
