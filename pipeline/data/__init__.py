"""Reads examples from a source, writes them as arrays, and serves mini-batches; workers use only the last part."""
