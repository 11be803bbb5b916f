"""Who owns which shard, under every failure that a schedule can hold: hosts, gateways, the lease
table and the network in virtual time, from a seed, driving the rules of production."""
