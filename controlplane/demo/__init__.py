"""`loadstar demo`: a network that really charges, on one machine, in some minutes.

Loadstar runs as it always does; a simulated network speaks OCPP to it over WebSockets from separate
processes; an auditor that knows only physics watches both."""
