"""A virtual end node (VEN) of OpenADR 3: a utility's events become grid events of Loadstar, and
what was made of them goes back as reports.

It runs as a process of its own beside Loadstar and speaks gRPC to it, like any other program. It
keeps nothing: what it did stands in Loadstar's grid events and in the utility's reports, so that it
may be stopped and started at any time. `wire` reads the messages, `timing` lays intervals out in
time, `mapping` says what an event asks, `reconcile` what has to change, `reports` what is answered;
these are pure. `vtn` and `grid` speak to the two sides, and `ven` is the loop."""
