"""The settings of servers that tests start: the project's own, as in production, but for passwords.

Hashing one takes a second of a processor there, which is not what these tests are about.
"""

from groupsite.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
