"""Run the shop, follow one request through it, and say whether all of it was visible."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from examples.demo import report
from examples.demo.forwarding import Forwarding
from examples.demo.jaeger import jaeger_url, link_to
from examples.demo.shop import Shop
from examples.demo.traffic import send_traffic
from glam_sdk.testing.otlp import OtlpReceiver


def main() -> int:
    """Run the demo; 0 only if trace, log lines and scrape were really there."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="stay up until Ctrl-C")
    keep = parser.parse_args().keep
    # SIGTERM becomes an exception, so that everything started here is ended here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    collector = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    forwarding = Forwarding(collector) if collector else None
    with (
        tempfile.TemporaryDirectory(prefix="glam-demo-") as folder,
        OtlpReceiver(forward=forwarding.send if forwarding else None) as receiver,
        Shop(Path(folder), receiver.endpoint) as shop,
    ):
        print(f"Started {', '.join(shop.names)} on a real NATS server at {shop.nats_url}\n")
        refused, followed = send_traffic(shop.storefront_url)
        receiver.wait_for(lambda r: report.is_whole(r.trace(followed)), timeout_s=30)
        report.show_refusal(receiver, refused)
        complete = (
            report.show_trace(receiver, followed),
            report.show_logs(shop.log_files, followed),
            report.show_scrape(shop.storefront_url),
        )
        report.show_verdict(complete)
        if forwarding:
            print(forwarding.summary())
            if jaeger := jaeger_url(collector):
                print(f"See it in Jaeger: {link_to(jaeger, followed)}")
        if keep:
            print(f"\nStorefront: {shop.storefront_url}/docs   Ctrl-C ends it.")
            shop.wait_for_interrupt()
    return 0 if all(complete) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
