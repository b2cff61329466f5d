"""What a split costs: the graph and its cuts, running head and tail, latency and fidelity measurements."""
