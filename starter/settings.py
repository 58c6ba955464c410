"""Everything that can be configured, read once at the start of a process and passed down.

A value comes from `durabill.yaml` (or the file that `DURABILL_CONFIG` names; `${VAR:default}` is filled in) and is
overridden by `DURABILL_*` variables. Unknown names are refused: a misspelt setting would otherwise be silently absent.
Temporal's connection has names of its own (`TEMPORAL_ADDRESS`, ...) and its own profile file. Owns no default that
reaches a database by accident: whoever needs one that is not configured is told so.
"""

import os
import re
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from starter.codec_keys import parse_keys

if TYPE_CHECKING:
    from temporalio.envconfig import ClientConnectConfig

PREFIX = "DURABILL_"
KAFKA_PREFIX = "DURABILL_KAFKA_"
CONFIG_VARIABLE = "DURABILL_CONFIG"
DEFAULT_FILE = Path("durabill.yaml")
SECRET_WORDS = ("password", "secret", "token", "api_key", "private_key", "credential", "jaas")

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[int, Field(ge=0)]


class SettingsError(ValueError):
    """What is configured cannot be used; the message names each setting and says what would be right."""


class Settings(BaseSettings):
    """The configuration of one process. Secrets are `SecretStr`: printing or logging them shows asterisks."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, populate_by_name=True
    )

    postgres_dsn: SecretStr | None = Field(
        default=None, description="Where the facts are stored: `postgresql://user:password@host:port/database`."
    )
    clickhouse_dsn: SecretStr | None = Field(
        default=None, description="Where usage is stored: `http://user:password@host:port/database` (`https` for TLS)."
    )
    kafka_brokers: str | None = Field(
        default=None, description="`host:port,...`: events go through Kafka. Unset: straight into ClickHouse."
    )
    kafka: dict[str, SecretStr] = Field(
        default={},
        description="More for librdkafka: `DURABILL_KAFKA_SASL_PASSWORD` becomes `sasl.password`, and so on.",
    )
    lazy_tenants: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Ids of tenants whose events take a lane of their own through Kafka, separated by commas:"
        " `durabill consume --lazy` carries it.",
    )
    event_retention_months: Annotated[int, Field(ge=2, le=1200)] = Field(
        default=37, description="Older events are refused, and deleted once `durabill migrate` has set it."
    )
    s3_bucket: str | None = Field(
        default=None, description="Documents go into this bucket. Unset: into `documents_dir`."
    )
    s3_endpoint: str | None = Field(
        default=None, description="Address of an S3 server that is not Amazon's. Credentials and region by `AWS_*`."
    )
    documents_dir: Path = Field(
        default=Path(".durabill/documents"), description="Where documents lie without a bucket."
    )
    documents_secret: SecretStr | None = Field(
        default=None, description="Signs the expiring URLs of documents in `documents_dir`; 32 characters or more."
    )
    api_host: str = Field(default="127.0.0.1", description="Address on which the API listens.")
    api_port: Port = Field(default=8080, description="Port on which the API listens.")
    public_url: str | None = Field(
        default=None,
        description="How customers reach the API; begins signed URLs. Unset: `http://localhost:` + `api_port`.",
    )
    temporal_ui_url: str | None = Field(default=None, description="Address of the Temporal UI, to which answers link.")
    temporal_deployment_name: str | None = Field(
        default=None,
        validation_alias="TEMPORAL_DEPLOYMENT_NAME",
        description="Worker Deployment that this worker joins, together with the build id.",
    )
    temporal_build_id: str | None = Field(
        default=None, validation_alias="TEMPORAL_WORKER_BUILD_ID", description="Build of this worker in its deployment."
    )
    codec_keys: SecretStr | None = Field(
        default=None, description="`id:key,...`: encrypts what Temporal stores; the first encrypts, all decrypt."
    )
    codec_server_token: SecretStr | None = Field(
        default=None, description="What `durabill codec-server` asks for; 32 characters or more."
    )
    sandbox: bool = Field(
        default=True,
        description="Temporal's workflow sandbox; `off` saves 30 to 40 % of a worker's CPU, keep it on in tests.",
    )
    sandbox_provider_url: str | None = Field(
        default=None, description="Address of the fake payment company; set: the payment provider `sandbox` exists."
    )
    sandbox_webhook_url: str | None = Field(
        default=None, description="Where the fake payment company reports; may contain `{tenant}` and `{environment}`."
    )
    sandbox_webhook_secret: SecretStr | None = Field(
        default=None, description="`whsec_...`: signs what the fake payment company reports."
    )
    stripe_secret_key: SecretStr | None = Field(
        default=None, description="`sk_...` or `rk_...` of a Stripe account; set: the payment provider `stripe` exists."
    )
    stripe_webhook_secret: SecretStr | None = Field(
        default=None,
        description="`whsec_...` of the endpoint at Stripe; several, separated by commas, during a rotation.",
    )
    stripe_api_base: str | None = Field(default=None, description="Another address than Stripe's own. For tests.")
    razorpay_key_id: str | None = Field(
        default=None, description="`rzp_...` of a Razorpay account; set: the payment provider `razorpay` exists."
    )
    razorpay_key_secret: SecretStr | None = Field(default=None, description="The secret that belongs to it.")
    razorpay_webhook_secret: SecretStr | None = Field(
        default=None,
        description="Signs what Razorpay reports; several, separated by commas, during a rotation.",
    )
    razorpay_api_base: str | None = Field(default=None, description="Another address than Razorpay's own. For tests.")
    payment_return_url: str | None = Field(
        default=None, description="Where customers land after a payment that they had to confirm. Unset: `public_url`."
    )
    webhooks_allow_private: bool = Field(
        default=False, description="Lets webhooks go to `http` and to private addresses. For development only."
    )
    log_format: Literal["json", "console"] | None = Field(
        default=None, description="Unset: `console` when a terminal looks on, else `json`."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    worker_queues: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Task queues that this worker serves, separated by commas. Unset: all."
    )
    worker_drain_seconds: Seconds = Field(
        default=30, description="How long a stopping worker lets running activities finish."
    )
    worker_health_port: Port | None = Field(
        default=None, description="Port of the worker's `/healthz`, `/readyz` and `/metrics`. Unset: not served."
    )
    metrics_port: Port | None = Field(
        default=None,
        description="Port of a consumer's metrics, and of those of a worker's Temporal SDK. Unset: not served.",
    )
    wake_spread_seconds: Seconds = Field(
        default=0, description="Wake-ups of subscriptions that fall on one instant are spread over so many seconds."
    )
    url: str = Field(default="http://localhost:8080", description="API that the commands which read and act talk to.")
    api_key: SecretStr | None = Field(
        default=None, description="API key of those commands; `durabill keys create` makes one."
    )

    @field_validator("worker_queues", "lazy_tenants", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("documents_secret", "codec_server_token")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("must have 32 characters or more, e.g. the output of `openssl rand -hex 32`")
        return value

    @field_validator("codec_keys")
    @classmethod
    def _readable(cls, value: SecretStr | None) -> SecretStr | None:
        _ = value and parse_keys(value.get_secret_value())
        return value

    def codec(self) -> dict[str, bytes]:
        """The keys of the payload codec by id, the one that encrypts first; none: payloads stay readable."""
        return parse_keys(self.codec_keys.get_secret_value()) if self.codec_keys else {}

    @property
    def base_url(self) -> str:
        """How customers reach the API, without a slash at the end."""
        return (self.public_url or f"http://localhost:{self.api_port}").rstrip("/")

    @property
    def return_url(self) -> str:
        """Where customers land after a payment that they had to confirm."""
        return self.payment_return_url or self.base_url

    def secrets_of(self, name: str) -> list[str]:
        """The parts of a secret that may hold several, separated by commas; none when it is not set."""
        secret: SecretStr | None = getattr(self, name)
        return [part.strip() for part in secret.get_secret_value().split(",") if part.strip()] if secret else []

    def kafka_options(self) -> dict[str, str]:
        """What is set for librdkafka beside the brokers, under its own names."""
        return {name: value.get_secret_value() for name, value in self.kafka.items()}

    def require(self, name: str) -> str:
        """The text of a setting that this process cannot do without; raises SettingsError when it is not set."""
        value = getattr(self, name)
        if value is None:
            field = type(self).model_fields[name]
            raise SettingsError(f"{variable_name(name)} is not set. {field.description} `durabill dev` brings its own.")
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Strongest first: arguments, environment, file."""
        return init_settings, KafkaVariables(settings_cls), env_settings, ConfigFile(settings_cls)


class KafkaVariables(PydanticBaseSettingsSource):
    """`DURABILL_KAFKA_SASL_USERNAME=u` as `kafka: {sasl.username: u}`: whatever librdkafka knows can be set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: the source answers for one field as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The one field that this source fills."""
        options = {
            name.removeprefix(KAFKA_PREFIX).lower().replace("_", "."): value
            for name, value in os.environ.items()
            if value
            and name.startswith(KAFKA_PREFIX)
            and name.removeprefix(PREFIX).lower() not in Settings.model_fields
        }
        return {"kafka": options} if options else {}


class ConfigFile(PydanticBaseSettingsSource):
    """The YAML file with its `${VAR:default}` filled in."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Not used: the file is read as a whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """What the file sets, under the names of the fields or Temporal's own variable names."""
        path = config_file()
        return read_file(path) if path else {}


def config_file() -> Path | None:
    """The configuration file in force, if there is one; raises SettingsError when a named one is missing."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named and not Path(named).is_file():
        raise SettingsError(f"{CONFIG_VARIABLE} names {named}, and there is no such file")
    return Path(named) if named else DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def read_file(path: Path) -> dict[str, Any]:
    """The file as a mapping of settings; raises SettingsError when it is not YAML or not a mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        raise SettingsError(f"{path} cannot be read as YAML: {' '.join(str(problem).split())}") from problem
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must be a mapping such as `api_port: 8080`, not a {type(content).__name__}")
    return {str(name): fill_in(value, f"{path}: {name}") for name, value in content.items()}


_VARIABLE = re.compile(r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<default>[^}]*))?\}")


def fill_in(value: Any, where: str) -> Any:
    """`${VAR}` and `${VAR:default}` inside strings, at any depth; raises SettingsError for one without a value."""
    if isinstance(value, dict):
        return {key: fill_in(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [fill_in(item, where) for item in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"], match["default"])
        if found is None:
            raise SettingsError(f"{where} needs the variable {match['name']}; set it or write ${{{match['name']}:...}}")
        return found

    return _VARIABLE.sub(replacement, value)


def variable_name(field: str) -> str:
    """The environment variable of a field."""
    alias = Settings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else PREFIX + field.upper()


def load_settings() -> Settings:
    """Reads file and environment; raises SettingsError that names every setting which is unknown or wrong."""
    refuse_unknown(os.environ)
    try:
        return Settings()
    except ValidationError as problem:
        raise SettingsError("\n".join(_sentence(error) for error in problem.errors())) from None


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """Raises SettingsError for `DURABILL_*` variables that mean nothing, with the name that was probably meant."""
    known = {variable_name(field) for field in Settings.model_fields} - {"DURABILL_KAFKA"} | {CONFIG_VARIABLE}
    unknown = [
        name
        for name in sorted(environ)
        if name.startswith(PREFIX) and not name.startswith(KAFKA_PREFIX) and name not in known
    ]
    if unknown:
        raise SettingsError("\n".join(f"{name} is not a setting.{_did_you_mean(name, known)}" for name in unknown))


def _did_you_mean(name: str, known: set[str]) -> str:
    meant = {other.removeprefix(PREFIX): other for other in known}
    close = get_close_matches(name.removeprefix(PREFIX), meant, n=1)
    return f" Did you mean {meant[close[0]]}?" if close else " `durabill config table` lists all settings."


def _sentence(error: Any) -> str:
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        return f"{config_file() or 'The configuration'}: {name} is not a setting.{_did_you_mean(name, _file_names())}"
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = "" if _is_secret(name) else f" {error['input']!r}"
    where = variable_name(name) if name in Settings.model_fields else name
    return f"{where}{shown} is wrong: {message[:1].lower()}{message[1:]}"


def _file_names() -> set[str]:
    return set(Settings.model_fields)


def _is_secret(name: str) -> bool:
    annotation = str(Settings.model_fields[name].annotation) if name in Settings.model_fields else ""
    return "SecretStr" in annotation or any(word in name.lower().replace(".", "_") for word in SECRET_WORDS)


_PASSWORD = re.compile(r"(?<=:)[^:@/]+(?=@)")


def shown(settings: Settings) -> dict[str, str]:
    """What is in force, by variable name, with secrets hidden: passwords inside a DSN, and secrets altogether."""
    lines: dict[str, str] = {}
    for field in Settings.model_fields:
        value = getattr(settings, field)
        if field == "kafka":
            for option, secret in value.items():
                text = "********" if _is_secret(option) else secret.get_secret_value()
                lines[KAFKA_PREFIX + option.upper().replace(".", "_")] = text
        elif field.endswith("_dsn") and value is not None:
            lines[variable_name(field)] = _PASSWORD.sub("********", value.get_secret_value())
        else:
            lines[variable_name(field)] = _text(value)
    return lines


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def log_format(settings: Settings) -> Literal["json", "console"]:
    """The format in force: as configured, else by whether a terminal looks on."""
    return settings.log_format or ("console" if sys.stderr.isatty() else "json")


def temporal_connection() -> "ClientConnectConfig":
    """Where Temporal is: `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS*` or a profile.

    Imported late because most commands never talk to Temporal. Raises SettingsError for a profile that is unusable.
    """
    from temporalio.envconfig import ClientConfig

    try:
        found = ClientConfig.load_client_connect_config()
    except RuntimeError as problem:
        raise SettingsError(f"Temporal's connection settings cannot be used: {problem}") from problem
    found.setdefault("target_host", "localhost:7233")
    found.setdefault("namespace", "default")
    return found
