"""What every test may use."""

import os

# Nothing listens there: a test that wants a trace store asks for one, and none meets a running Flywheel's.
os.environ["FLYWHEEL_CLICKHOUSE_URL"] = "http://127.0.0.1:9/flywheel"

pytest_plugins = ["tests.clickhouse_fixture"]
