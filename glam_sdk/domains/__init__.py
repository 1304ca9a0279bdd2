"""Hold what each business domain shares between services: its errors and its events.

A leaf: the SDK never imports it, and a domain knows ``glam_sdk.errors`` and ``glam_sdk.events``
and nothing more. A domain outside this package declares its errors the same way.
"""
