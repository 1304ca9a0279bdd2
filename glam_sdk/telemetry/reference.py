"""Write the reference page of all telemetry names.

``python -m glam_sdk.telemetry.reference docs/reference/telemetry.md`` brings the page up to date; a
test fails when it is not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.catalogue import AREAS, MetricSpec, all_metrics

_HEAD: Final = """\
# Telemetry names

Every metric, label, span attribute and resource attribute that glam_sdk writes.
They are public: a change of one is a line in the changelog.
This page is written from `glam_sdk/telemetry/conventions.py` and `catalogue.py` by
`python -m glam_sdk.telemetry.reference docs/reference/telemetry.md`.

Names follow the OpenTelemetry semantic conventions 1.44 where they have one, and begin with `glam.`
where they have none.
In Prometheus a name has underscores for dots, its unit, and `_total` when it is a counter:
`http.server.request.duration` in seconds is `http_server_request_duration_seconds`.
"Workers" says what one scrape shows of several worker processes.
"""


_EVERYWHERE: Final = f"""\
### Labels of any metric

| label | in Prometheus | meaning |
|---|---|---|
| `{conv.OTEL_METRIC_OVERFLOW}` | `otel_metric_overflow="true"` | \
The one series of everything beyond the limit of series; it has no other label. |
| `{conv.WORKER}` | `worker="0"` | \
The worker process, in a scrape of several; only on gauges whose rule is `worker`. |
"""


def page() -> str:
    """Return the whole page."""
    parts = [_HEAD, "## Metrics\n"]
    for area, specs in AREAS.items():
        parts.append(f"### {area}\n")
        parts.append("| metric | kind | unit | labels | workers | meaning |")
        parts.append("|---|---|---|---|---|---|")
        parts += [_row(spec) for spec in specs]
        parts.append("")
        parts += [f"Buckets of `{s.name}`: {_numbers(s.buckets)}.\n" for s in specs if s.buckets]
    parts.append(_EVERYWHERE)
    parts.append("## Attributes\n")
    parts.append("Of resources, spans, log records and metrics, by their constant in the code.\n")
    parts.append("| attribute | constant |")
    parts.append("|---|---|")
    parts += [f"| `{value}` | `{name}` |" for value, name in sorted(_attributes().items())]
    return "\n".join(parts).rstrip() + "\n"


def _row(spec: MetricSpec) -> str:
    labels = ", ".join(f"`{label}`" for label in spec.labels)
    kind = spec.kind.replace("_", "-")
    return (
        f"| `{spec.name}` | {kind} | `{spec.unit}` | {labels} | {spec.workers} | {spec.meaning} |"
    )


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _attributes() -> dict[str, str]:
    """Return attribute → constant; what is neither a metric nor a text is none."""
    metrics = all_metrics()
    return {
        value: name
        for name, value in vars(conv).items()
        if name.isupper()
        and isinstance(value, str)
        and "." in value
        and "://" not in value
        and value not in metrics
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
