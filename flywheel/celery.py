"""The Celery application: where hints to work are sent, and what beat sends by the clock.

`celery -A flywheel worker` and `… beat` find it here. The package itself does not import it: parts run
in environments without Celery. What the tasks do is in the nouns' modules; flywheel.jobs holds the truth.
"""

import os
from typing import Any

from celery import Celery, Task

from inference import readers

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flywheel.settings")


class SystemTask(Task):  # type: ignore[type-arg]
    """Work that nobody's page does reads whatever it needs."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with readers.as_the_system():
            return super().__call__(*args, **kwargs)


app = Celery("flywheel", include=["flywheel.tasks"], task_cls=SystemTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
# A page that starts a job must not hang on a broker that is down: the row is saved, and beat sends it again.
app.conf.broker_transport_options = {
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
    # For sending only; workers and beat keep trying by settings of their own. 0 would mean for ever.
    "max_retries": 1,
    "interval_start": 0,
}
app.conf.beat_schedule = {
    # The first is a page's hint that got lost, the second a worker that died: both wait at most this long.
    "resend-due-jobs": {"task": "flywheel.resend_due", "schedule": 10.0, "options": {"expires": 10}},
    "fill-queues": {"task": "flywheel.fill_queues", "schedule": 300.0, "options": {"expires": 300}},
    "erase-late-arrivals": {
        "task": "flywheel.erase_late_arrivals",
        "schedule": 300.0,
        "options": {"expires": 300},
    },
    # A day's work is done once; an hour later only what a run had no room for.
    "expire": {"task": "flywheel.expire", "schedule": 3600.0, "options": {"expires": 3600}},
    "suggest": {"task": "flywheel.suggest", "schedule": 30.0, "options": {"expires": 30}},
    "mirror-judgements": {
        "task": "flywheel.mirror_judgements",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    "check-modes": {"task": "flywheel.check_modes", "schedule": 60.0, "options": {"expires": 60}},
    # After Redis was wiped, a budget is as it was within two of these.
    "rebuild-budgets": {"task": "flywheel.rebuild_budgets", "schedule": 60.0, "options": {"expires": 60}},
}
