"""Start the example shop as separate processes and look at what it tells of itself."""
