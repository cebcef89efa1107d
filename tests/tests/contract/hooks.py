"""What schemathesis has to be told about this API."""

import os

import schemathesis

KEY = os.environ["PULSE_TEST_KEY"]
# A run that revokes the key with which it asks would see nothing but 401 from then on.
KEY_ID = os.environ["PULSE_TEST_KEY_ID"]


@schemathesis.serializer("application/x-protobuf")
def as_bytes(ctx, value):
    """Protobuf is opaque to OpenAPI: what is drawn goes out as bytes, mostly not protobuf."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.hook
def before_call(ctx, case, kwargs):
    # One credential that holds, not one of each scheme of which one is drawn.
    case.headers.pop("Authorization", None)
    case.headers["X-API-Key"] = KEY
    parameters = case.path_parameters or {}
    if parameters.get("id") == KEY_ID and case.method != "GET":
        parameters["id"] = "another"
