"""The paper's evaluation for any model: a grid of states, the best split in each, the gain over static policies."""
