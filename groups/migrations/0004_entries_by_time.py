from django.db import migrations, models

from core.migrations import AddIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('groups', '0003_reports'),
    ]

    operations = [
        AddIndex(
            model_name='membership',
            index=models.Index(fields=['verified_at', 'group'], name='entries_by_time'),
        ),
    ]
