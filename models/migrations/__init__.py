"""Migrations of Postgres (alembic) and ClickHouse (numbered SQL); forward only."""
