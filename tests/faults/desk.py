"""Puts into the SQL database what the load needs: a key, an engine, a version, a route.

python -m tests.faults.desk http://127.0.0.1:8001
"""

import os
import sys

import django

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "flywheel.settings")
    django.setup()
    from django.core.management import call_command

    from inference.models import ApiKey, ModelVersion, Route, RouteTarget, Upstream, hash_key
    from tests.faults.stack import SECRET

    call_command("migrate", verbosity=0)
    ApiKey.objects.create(name="faults", prefix=SECRET[:8], hash=hash_key(SECRET), every_route=True)
    version = ModelVersion.objects.create(name="canned", kind=ModelVersion.Kind.BASE, weights="a" * 64)
    version.upstreams.add(Upstream.objects.create(name="engine", base_url=sys.argv[1]))
    route = Route.objects.create(name="desk")
    RouteTarget.objects.create(route=route, model_version=version, weight=100)
