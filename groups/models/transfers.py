"""How far an import of a file has come."""

from django.db import models


class Transfer(models.Model):
    """A file of an import that is under way, or was ended in the middle: deleted at its end.

    Each piece of rows is written in one transaction with this row, so that an import that is run
    again goes on after the last piece. Nothing in it is about a person.
    """

    # Of the file's bytes and of what they are read as: see groups/transfer/pieces.py.
    digest = models.CharField(max_length=64, unique=True)
    as_of = models.DateTimeField()
    rows = models.PositiveIntegerField(default=0)
    made = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    kept = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    refused_bytes = models.PositiveBigIntegerField(default=0)  # of the file of refused rows
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"transfer {self.pk}"
