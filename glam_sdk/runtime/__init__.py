"""Run a service: init, components, start, drain, stop."""
