"""WHERE it is run: the plan, worker processes with a watchdog, executors, and the measuring of one call.

Import its modules by name, so that a worker process imports only a few of them:

- `plan`: cells, groups of cases, and calls; `variants` are settings that change a mode.
- `registry`: the installed frameworks; `environment`: the machine.
- `executors`: where calls run; `measuring`: the cells of one block and their tables.
- `pool`: worker processes; `_queues`: which of them runs next; `_watchdog`: their limits.
- `worker`: the code inside a worker process; `outcomes`: how a call ended.
"""
