"""A drain is heard from half a minute after a start; the group that docs and pages speak of is there."""

from django.db import migrations


def wait(apps, schema_editor):
    rules = apps.get_model("flywheel", "AlertRule").objects
    rules.filter(name="Drain silent", for_seconds=0).update(for_seconds=30)


def make_group(apps, schema_editor):
    apps.get_model("auth", "Group").objects.get_or_create(name="engineers")


class Migration(migrations.Migration):
    dependencies = [
        ("flywheel", "0007_rerun"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.RunPython(wait, migrations.RunPython.noop),
        migrations.RunPython(make_group, migrations.RunPython.noop),
    ]
