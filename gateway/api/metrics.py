"""What Prometheus scrapes: the counts of this machine's web workers together, where they share a folder."""

import os

from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector


@get("/metrics", include_in_schema=False)
async def metrics() -> Response[bytes]:
    """Every metric in Prometheus' text format."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no types here
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
