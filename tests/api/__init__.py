"""The HTTP API against real Postgres and ClickHouse, by plain requests and by the official SDK."""
