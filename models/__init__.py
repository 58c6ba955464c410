"""How state is stored: tables, query functions, ClickHouse schema and queries, migrations. Owns no rule of billing."""
