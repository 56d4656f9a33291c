"""The web server's way in; it refuses to serve with settings that `manage.py check` refuses."""

import os

from django.core.management import call_command
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "groupsite.settings")

application = get_wsgi_application()
call_command("check")
