"""The worker process: a thin shell around a host of instances, doing the I/O that they ask for."""
