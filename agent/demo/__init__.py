"""`splitd demo`: both daemons and a shaped link on this machine, shown on the screen, and what splitting gains."""

from splitd.agent.demo.plot import save_plot
from splitd.agent.demo.processes import DemoSettings, Processes
from splitd.agent.demo.runner import DemoRunner
from splitd.agent.demo.screen import Screen, summary_table
from splitd.agent.demo.summary import BatchRow, Summary

__all__ = ["BatchRow", "DemoRunner", "DemoSettings", "Processes", "Screen", "Summary", "save_plot", "summary_table"]
