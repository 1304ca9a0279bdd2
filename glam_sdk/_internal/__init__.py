"""Hold what every layer may use and no service should."""
