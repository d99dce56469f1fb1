"""What can be in the way of the embedded servers, each in one sentence that says what to do."""


class EmbeddedUnavailable(Exception):
    """The embedded servers cannot run here; the message says what is in the way and what to do."""

    code = "embedded_unavailable"
    retryable = False
