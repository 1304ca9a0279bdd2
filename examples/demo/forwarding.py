"""Send what the demo's receiver gets on to a collector, such as Jaeger's."""

from __future__ import annotations

import os
import urllib.request
from collections import Counter
from urllib.parse import unquote


class Forwarding:
    """Post OTLP bodies to ``<endpoint>/v1/<signal>``, and know how that went.

    Args:
        endpoint: ``OTEL_EXPORTER_OTLP_ENDPOINT``; ``OTEL_EXPORTER_OTLP_HEADERS`` are sent along.
    """

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._headers = {"Content-Type": "application/x-protobuf", **_headers()}
        self._sent: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._reason = ""

    def send(self, name: str, body: bytes) -> None:
        """Send one body of a signal on."""
        request = urllib.request.Request(  # noqa: S310 - the user's own collector
            f"{self._endpoint}/v1/{name}", data=body, headers=self._headers
        )
        try:
            with urllib.request.urlopen(request, timeout=5):  # noqa: S310
                self._sent[name] += 1
        except OSError as exc:
            self._failed[name] += 1
            self._reason = str(exc)

    def summary(self) -> str:
        """Say in one sentence what the collector took."""
        if not self._failed:
            return f"Everything was sent on to {self._endpoint} as well."
        refused = ", ".join(f"{count} of {name}" for name, count in sorted(self._failed.items()))
        return (
            f"{self._endpoint} did not take {refused}: {self._reason}. "
            "The demo sends OTLP over HTTP; the port for that is usually 4318."
        )


def _headers() -> dict[str, str]:
    pairs = os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",")
    split = (pair.partition("=") for pair in pairs if "=" in pair)
    return {key.strip(): unquote(value.strip()) for key, _, value in split}
