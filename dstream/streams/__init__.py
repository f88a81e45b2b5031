"""What streams and RDDs can do, by idea; ``dstream.stream`` and ``dstream.rdd`` put it together."""
