"""What every test may use."""

pytest_plugins = ["tests.clickhouse_fixture"]
