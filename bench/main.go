// Command bench measures what a ledger does on this machine, prints all of it, and records it with plots.
//
//	go run ./bench
//
// Questions, machine, commit and command of every recorded figure are in results. The benchmarks of the parts are in the test files: each
// also runs once, with a small size, as a test, so that none rots. The folder load sends payments to one ledger, cross across several.
//
// The packages below this folder may forge proofs with zk/setup/simulator, which nothing else outside tests may.
package main

func main() {}
