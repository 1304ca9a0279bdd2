"""Let the client be used by its public doors alone, as with a version we do not know.

``TEST_PUBLIC_DOORS=1`` asks for it, in the tests' process and in the workers they start.
"""

from __future__ import annotations

import os

from glam_sdk.messaging import inline

if os.environ.get("TEST_PUBLIC_DOORS"):
    setattr(inline, "IS_INLINE", False)  # noqa: B010 - final to everybody else
