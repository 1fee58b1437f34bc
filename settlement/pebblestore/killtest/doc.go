// Package killtest holds the embedded store to its promise with a process that
// is killed at its writes and syncs, one run per call of the kernel.
package killtest
