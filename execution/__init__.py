"""WHERE it is run: the plan, worker processes with a watchdog, executors, and the measuring of one call.

Its modules are imported by name, since a worker process is to import few of them:

- `plan`: cells, groups of cases, and calls; `variants` are settings that change a mode.
- `registry`: the frameworks that are installed; `environment`: the machine.
- `executors`: where calls are made; `measuring`: the cells of one block and their tables.
- `pool`: worker processes; `_queues`: which of them makes its calls next; `_watchdog`: their limits.
- `worker`: what runs inside one; `outcomes`: how a call ended.
"""
