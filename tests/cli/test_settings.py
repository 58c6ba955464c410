"""Settings: where a value comes from, and what is said about one that is wrong."""

from pathlib import Path

import pytest

from starter.settings import Settings, SettingsError, load_settings, shown, temporal_connection


@pytest.fixture(autouse=True)
def _empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str) -> None:
    Path("durabill.yaml").write_text(text)


def test_a_variable_wins_over_the_file_and_the_file_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    write("api_port: 9001\napi_host: 0.0.0.0\n")
    monkeypatch.setenv("DURABILL_API_PORT", "9002")
    settings = load_settings()
    assert (settings.api_port, settings.api_host, settings.worker_drain_seconds) == (9002, "0.0.0.0", 30)


def test_the_file_is_filled_in_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        "postgres_dsn: postgresql://u:${PASSWORD}@${HOST:db}/durabill\napi_port: ${PORT:8081}\n"
        "kafka: {sasl.password: '${PASSWORD}', client.id: '${EMPTY:}'}\n"
    )
    monkeypatch.setenv("PASSWORD", "p$d")
    settings = load_settings()
    assert settings.require("postgres_dsn") == "postgresql://u:p$d@db/durabill"
    assert settings.api_port == 8081
    assert settings.kafka_options() == {"sasl.password": "p$d", "client.id": ""}


def test_a_variable_that_the_file_needs_and_nobody_sets_is_named() -> None:
    write("kafka: {sasl.password: '${KAFKA_PASSWORD}'}\n")
    with pytest.raises(SettingsError, match=r"durabill\.yaml: kafka\.sasl\.password needs .* KAFKA_PASSWORD"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api_prot: 8080\n", "api_prot is not a setting. Did you mean api_port?"),
        ("- api_port\n", "must be a mapping such as `api_port: 8080`, not a list"),
        ("api_port: [\n", "cannot be read as YAML"),
        ("api_port: 70000\n", "DURABILL_API_PORT 70000 is wrong: input should be less than or equal to 65535"),
        ("log_level: loud\n", "DURABILL_LOG_LEVEL 'loud' is wrong"),
    ],
)
def test_a_wrong_file_is_refused_in_one_sentence(text: str, message: str) -> None:
    write(text)
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert message in str(refusal.value)
    assert "durabill.yaml" in str(refusal.value) or "DURABILL_" in str(refusal.value)


def test_unknown_variables_are_refused_with_the_name_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABILL_POSTGRES_DNS", "x")
    monkeypatch.setenv("DURABILL_COLOUR", "blue")
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert str(refusal.value).splitlines() == [
        "DURABILL_COLOUR is not a setting. `durabill config table` lists all settings.",
        "DURABILL_POSTGRES_DNS is not a setting. Did you mean DURABILL_POSTGRES_DSN?",
    ]


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABILL_CONFIG", "absent.yaml")
    with pytest.raises(SettingsError, match=r"DURABILL_CONFIG names absent\.yaml, and there is no such file"):
        load_settings()


def test_whatever_librdkafka_knows_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    write("kafka: {security.protocol: PLAINTEXT, client.id: ours}\n")
    monkeypatch.setenv("DURABILL_KAFKA_BROKERS", "a:1,b:2")
    monkeypatch.setenv("DURABILL_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    settings = load_settings()
    assert settings.kafka_brokers == "a:1,b:2"
    assert settings.kafka_options() == {"security.protocol": "SASL_SSL", "client.id": "ours"}


@pytest.mark.parametrize(("text", "expected"), [("on", True), ("off", False), ("true", True), ("0", False)])
def test_switches_are_on_or_off(monkeypatch: pytest.MonkeyPatch, text: str, expected: bool) -> None:
    monkeypatch.setenv("DURABILL_SANDBOX", text)
    assert load_settings().sandbox is expected


def test_queues_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABILL_WORKER_QUEUES", "billing, webhooks,")
    assert load_settings().worker_queues == ("billing", "webhooks")
    write("worker_queues: [documents]\n")
    monkeypatch.delenv("DURABILL_WORKER_QUEUES")
    assert load_settings().worker_queues == ("documents",)


def test_the_deployment_has_temporals_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_DEPLOYMENT_NAME", "durabill")
    monkeypatch.setenv("TEMPORAL_WORKER_BUILD_ID", "abc123")
    settings = load_settings()
    assert (settings.temporal_deployment_name, settings.temporal_build_id) == ("durabill", "abc123")


def test_temporals_connection_has_temporals_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert temporal_connection() == {"target_host": "localhost:7233", "namespace": "default"}
    monkeypatch.setenv("TEMPORAL_ADDRESS", "cloud:7233")
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "billing.abc")
    monkeypatch.setenv("TEMPORAL_API_KEY", "key")
    assert dict(temporal_connection()) == {
        "target_host": "cloud:7233",
        "namespace": "billing.abc",
        "api_key": "key",
        "tls": True,
    }


def test_what_is_needed_and_absent_is_named() -> None:
    with pytest.raises(SettingsError, match=r"DURABILL_POSTGRES_DSN is not set\. Where the facts are stored"):
        load_settings().require("postgres_dsn")


SECRET = "correct-horse-battery-staple-0123456789"


def with_secrets(monkeypatch: pytest.MonkeyPatch, **more: str) -> Settings:
    secrets = {
        "POSTGRES_DSN": f"postgresql://durabill:{SECRET}@db:5432/durabill",
        "CLICKHOUSE_DSN": f"https://default:{SECRET}@ch/durabill",
        "DOCUMENTS_SECRET": SECRET,
        "SANDBOX_WEBHOOK_SECRET": f"whsec_{SECRET}",
        "API_KEY": SECRET,
        "KAFKA_SASL_PASSWORD": SECRET,
        "KAFKA_SASL_JAAS_CONFIG": SECRET,
        "KAFKA_SASL_USERNAME": "durabill",
    }
    for name, value in (secrets | more).items():
        monkeypatch.setenv(f"DURABILL_{name}", value)
    return load_settings()


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_secrets(monkeypatch)
    lines = shown(settings)
    assert SECRET not in repr(settings)
    assert SECRET not in str(lines)
    assert lines["DURABILL_POSTGRES_DSN"] == "postgresql://durabill:********@db:5432/durabill"
    assert lines["DURABILL_KAFKA_SASL_USERNAME"] == "durabill"
    assert lines["DURABILL_KAFKA_SASL_PASSWORD"] == "********"


def test_a_wrong_secret_is_not_repeated_in_the_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as refusal:
        with_secrets(monkeypatch, DOCUMENTS_SECRET="tooshort")
    assert "tooshort" not in str(refusal.value)
    assert "32 characters or more" in str(refusal.value)


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABILL_POSTGRES_DSN", "")
    monkeypatch.setenv("DURABILL_API_PORT", "")
    monkeypatch.setenv("DURABILL_KAFKA_SASL_USERNAME", "")
    settings = load_settings()
    assert (settings.postgres_dsn, settings.api_port, settings.kafka) == (None, 8080, {})
