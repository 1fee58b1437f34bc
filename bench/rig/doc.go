// Package rig runs whole ledgers for the bench: the program comity in a process of its own, as an operator runs it, with its witness, its
// certificates and a collector of telemetry, and the driver that pays over its network interface.
//
// Driver, witness and collector run in the process of the benchmark. They share the machine with the ledger, so what they use is stated apart.
// Processor time and memory of the ledger are read from /proc: the rig needs Linux.
package rig
