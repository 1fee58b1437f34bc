package zk

// AppendInputBytes appends the public inputs as AppendInputs orders them, 32 bytes each, the highest first: for hashing all that a proof is
// checked against.
func (l *LegPublic) AppendInputBytes(dst []byte) []byte {
	inputs := l.AppendInputs(nil)
	for i := range inputs {
		b := inputs[i].Bytes()
		dst = append(dst, b[:]...)
	}
	return dst
}
