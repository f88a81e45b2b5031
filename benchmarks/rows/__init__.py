"""One file per measurement; ``benchmarks.__main__`` lists them."""
