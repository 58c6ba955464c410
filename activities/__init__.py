"""Effects: one small class per noun with injected clients. See `ports.py` for what they ask of the outside world."""
