"""The language model: its architecture, and its weights from disk or hub."""
