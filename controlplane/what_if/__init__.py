"""What if: the sessions that a site has had, lived through again under another description of it.

A question names a site as it is and as it would be, and the sessions of some months from the store.
Both are replayed with the production planner and the production allocation, knowing at each instant
only what the site would have known; beside each stands what no controller could have done better,
had it known all in advance. Pure and deterministic: no clock, no IO; the API runs it in a process
of its own (`__main__`)."""
