"""`make cluster`: the site on several PostgreSQLs and several nodes, on one machine, to break it.

Patroni keeps three PostgreSQLs, of which one leads, and a fourth for reads; etcd says who leads;
HAProxy leads clients to two nodes of the site, and those to the PostgreSQL that leads. Each is a
process of its own, so that each can be killed as a machine would fail. docs/cluster.md explains it.
"""
