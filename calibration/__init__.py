"""What a split costs: models and their cuts, chains of segments, latency and accuracy; each folder here is a room."""
