"""A link and two processors on a simulated clock, to drive the daemon's own estimator and planner through a trace."""
