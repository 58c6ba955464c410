"""The way of an event from the API into ClickHouse: values, identity, the sink, and the two paths that feed it."""
