"""Small reference objectives for the demo, the tests and the benchmarks."""
