"""WHERE it is run: the plan, worker processes with a watchdog, executors, and the measuring of one call."""
