"""A day in the life of a network: real charging sessions at many sites, lived through three times.

Once under Loadstar, by the production actors in virtual time (`actors.py`); once with every vehicle
at full power from the moment it is plugged in (`uncontrolled.py`); once by a linear program that
knew the whole day in advance (`optimum.py`). All three see the same vehicles, the same buildings
and the same ratings (`scenario.py`), so what they deliver can be compared.

Invariant: a date, a number of sites and a seed decide everything."""
