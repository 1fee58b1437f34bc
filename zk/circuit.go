package zk

import "fmt"

// CircuitID names a circuit. The number is part of an entry's bytes.
type CircuitID uint8

// The circuits of a ledger.
const (
	Transfer    CircuitID = 1
	Hold        CircuitID = 2
	Disburse16  CircuitID = 3
	Disburse64  CircuitID = 4
	Consolidate CircuitID = 5

	// CircuitVersion is the version of all of them. A changed circuit takes a new one.
	CircuitVersion = 1

	// LargeDisburse is the number of outputs of Disburse64: the largest that keeps every statement under 2^16 constraints.
	LargeDisburse = 64
)

// Circuits lists every circuit in the order of their ids.
func Circuits() []CircuitID { return []CircuitID{Transfer, Hold, Disburse16, Disburse64, Consolidate} }

// Shape is the size of a circuit. SubtreeLevel is the level of the aligned subtree that a disbursement publishes (3^level
// leaves), 0 for the others. Held says that output 0 waits.
type Shape struct {
	Inputs, Outputs, SubtreeLevel int
	Held                          bool
}

// Shape returns the circuit's shape, and the zero Shape for an unknown id.
func (c CircuitID) Shape() Shape {
	switch c {
	case Transfer:
		return Shape{Inputs: 2, Outputs: 2}
	case Hold:
		return Shape{Inputs: 2, Outputs: 2, Held: true}
	case Disburse16:
		return Shape{Inputs: 1, Outputs: 16, SubtreeLevel: 3}
	case Disburse64:
		return Shape{Inputs: 1, Outputs: LargeDisburse, SubtreeLevel: 4}
	case Consolidate:
		return Shape{Inputs: 8, Outputs: 2}
	}
	return Shape{}
}

// Known reports whether the id names a circuit.
func (c CircuitID) Known() bool { return c >= Transfer && c <= Consolidate }

// String is the circuit's name.
func (c CircuitID) String() string {
	switch c {
	case Transfer:
		return "transfer"
	case Hold:
		return "hold"
	case Disburse16:
		return "disburse16"
	case Disburse64:
		return "disburse64"
	case Consolidate:
		return "consolidate"
	}
	return fmt.Sprintf("circuit(%d)", uint8(c))
}

// slotsPerLane is how many 32-bit input slots one lane hides: 224 of the field's 255 bits.
const slotsPerLane = 7

// SenderFields is the number of fields of the sender's part of the oversight ciphertext: own, the first seven input slots, and
// the rest if there are more.
func (s Shape) SenderFields() int {
	if s.Inputs > slotsPerLane {
		return 3
	}
	return 2
}

// NumInputs is the number of public inputs of a circuit, 0 for an unknown one.
func NumInputs(c CircuitID) int {
	s := c.Shape()
	if s.Inputs == 0 {
		return 0
	}
	n := 14 + s.SenderFields() + s.Inputs + 3*s.Outputs
	if s.SubtreeLevel > 0 {
		n++
	}
	if s.Held {
		n += 2
	}
	return n
}

// LocalHold is the size class of a hold that crosses no border.
const LocalHold = ^uint64(0)
