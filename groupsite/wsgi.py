"""The web server's way in; it refuses to serve with settings that `manage.py check` refuses."""

import gc
import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.db import connections

from core import metrics
from core.database import bound_requests

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "groupsite.settings")

application = get_wsgi_application()
bound_requests()
metrics.begin()
call_command("check")
connections.close_all()  # which `check` has opened: processes that are forked must not share them

# What is there by now stays: Python need not look through it again and again for what may go.
gc.collect()
gc.freeze()
