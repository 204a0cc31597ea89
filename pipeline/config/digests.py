"""Digests of plain values, by which configurations and studies are compared and named."""

import hashlib
import json
from typing import Any


def plain_digest(value: Any) -> str:
    """Return the SHA-256 of a nested plain value in hexadecimal, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
