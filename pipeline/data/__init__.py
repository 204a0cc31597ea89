"""From a source of examples to arrays on disk, and from there to mini-batches; only part of it runs in workers."""
