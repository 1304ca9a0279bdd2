"""Small services that the integration tests run as processes."""
