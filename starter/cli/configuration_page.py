"""The page docs/configuration.md, made from the settings class: it cannot say anything else than the code."""

from enum import Enum
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from starter.settings import KAFKA_PREFIX, Settings, variable_name

HEAD = """# Configuration

Made by `durabill config table > docs/configuration.md`; a test compares it with the code.

Settings are read once, at the start of a process: from `durabill.yaml` in the working directory (or the file that
`DURABILL_CONFIG` names), overridden by environment variables. In the file a setting has its name in lower case without
`DURABILL_`; `${VAR}` and `${VAR:default}` inside its texts are filled in from the environment. Unknown names are
refused in both places. `durabill config check` prints what is in force, with secrets hidden.

```yaml
postgres_dsn: postgresql://durabill:${POSTGRES_PASSWORD}@db:5432/durabill
api_port: ${PORT:8080}
kafka_brokers: kafka-1:9092,kafka-2:9092
kafka:
  security.protocol: SASL_SSL
  sasl.username: durabill
  sasl.password: ${KAFKA_PASSWORD}
```

| Variable | Default | Meaning |
|---|---|---|
"""

TAIL = """
Temporal's connection has the names that all of Temporal's tools share, or a profile in its own file
(`TEMPORAL_CONFIG_FILE`, `TEMPORAL_PROFILE`):

| Variable | Default | Meaning |
|---|---|---|
| `TEMPORAL_ADDRESS` | `localhost:7233` | Host and port of the server. |
| `TEMPORAL_NAMESPACE` | `default` | Namespace. |
| `TEMPORAL_API_KEY` | | Key of Temporal Cloud; switches TLS on. |
| `TEMPORAL_TLS`, `TEMPORAL_TLS_CLIENT_CERT_PATH`, ... | | TLS, as Temporal's documentation lists it. |

Documents in S3 use the credentials and the region that Amazon's tools use: `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_DEFAULT_REGION`, a profile or an instance role.
"""


def page() -> str:
    """The whole page."""
    rows = [_row(name) for name in Settings.model_fields]
    return HEAD + "".join(f"{row}\n" for row in rows) + TAIL


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    variable = f"{KAFKA_PREFIX}..." if name == "kafka" else variable_name(name)
    default = _default(field.default)
    return f"| `{variable}` | {f'`{default}`' if default else ''} | {field.description} |"


def _default(value: Any) -> str:
    if value is None or value is PydanticUndefined or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value.value if isinstance(value, Enum) else value.as_posix() if isinstance(value, Path) else value)
