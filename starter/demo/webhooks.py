"""The demo's own webhook receiver: a listener on loopback that checks each signature and counts.

Owns the endpoint at the API, its secret (shown once, so kept in the state folder) and what has arrived over all runs.
"""

import json
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

from starter.demo.api import Api

PATH = "/durabill-demo"
ENABLED_EVENTS = ["invoice.update.finalized", "invoice.update.payment", "payment.success", "payment.failed"]


@dataclass
class Received:
    """What is remembered between runs: the endpoint, and webhook id -> event type of all verified deliveries."""

    endpoint_id: str = ""
    secret: str = ""
    port: int = 0
    deliveries: dict[str, str] = field(default_factory=dict)


class Receiver:
    """Listens from construction until `close`. Use as a context manager."""

    def __init__(self, state_folder: Path) -> None:
        self._file = state_folder / "webhooks.json"
        self._lock = threading.Lock()
        self.received = Received(**json.loads(self._file.read_text())) if self._file.exists() else Received()
        self.refused = 0
        self._server = _listen(self.received.port, self)
        self.received.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="demo-webhooks", daemon=True).start()

    def __enter__(self) -> "Receiver":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where this receiver listens."""
        return f"http://127.0.0.1:{self.received.port}{PATH}"

    def subscribe(self, api: Api) -> bool:
        """Makes an endpoint in the place of older ones; True if an earlier run's still leads here and is kept."""
        mine = [endpoint for endpoint in api.items("/webhooks/endpoints") if endpoint["url"].endswith(PATH)]
        if any(endpoint["id"] == self.received.endpoint_id and endpoint["url"] == self.url for endpoint in mine):
            return True
        for endpoint in mine:
            api.delete(f"/webhooks/endpoints/{endpoint['id']}")
        made = api.post("/webhooks/endpoints", {"url": self.url, "enabled_events": ENABLED_EVENTS})
        self.received.endpoint_id, self.received.secret = made["id"], made["secret"]
        self.received.deliveries = {}
        self._save()
        return False

    def accept(self, headers: dict[str, str], body: bytes) -> bool:
        """Whether a delivery is genuine; a genuine one is counted, once however often it is repeated."""
        with self._lock:
            try:
                payload = Webhook(self.received.secret).verify(body, headers)
            except (WebhookVerificationError, ValueError):
                self.refused += 1
                return False
            self.received.deliveries[headers["webhook-id"]] = payload["event_type"]
            return True

    def counts(self) -> Counter[str]:
        """Verified deliveries by event type."""
        with self._lock:
            return Counter(self.received.deliveries.values())

    def close(self) -> None:
        """Stops listening and remembers what has arrived."""
        self._server.shutdown()
        self._server.server_close()
        self._save()

    def _save(self) -> None:
        with self._lock:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(asdict(self.received)))
            self._file.chmod(0o600)


def _listen(port: int, receiver: Receiver) -> ThreadingHTTPServer:
    """A server on the port of the earlier run; on any free one if that is taken by now."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(204 if receiver.accept(headers, body) else 401)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet: the counts are what matters."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)
