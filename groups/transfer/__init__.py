"""Moving in and out: what `manage.py import` reads and `manage.py export` writes."""
