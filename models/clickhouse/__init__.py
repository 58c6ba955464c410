"""Usage events in ClickHouse: schema, migrations and queries. Owns no connection: a `ClickHouse` is passed in."""
