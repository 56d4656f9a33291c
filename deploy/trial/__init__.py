"""`make guide`: follow docs/deploy.md word by word in an empty Debian, and see what members see."""

import sys

DOMAIN = "api.example.com"
APP_ID = "wx0123456789abcdef"
APP_SECRET = "0123456789abcdef0123456789abcdef"


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
