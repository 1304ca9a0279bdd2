"""Examples to copy from: one file to start with, a shop of three services, and the demo."""
