"""What runs on a worker: receivers of input, tasks over blocks, state, and sinks."""
