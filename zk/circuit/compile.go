package circuit

import "github.com/consensys/gnark/frontend"

// empty returns a circuit of the given sizes with every slice in place.
func empty(s shape) *Leg {
	l := &Leg{size: s}
	l.Public = make([]frontend.Variable, s.publics())
	l.Inputs = make([]Input, s.inputs)
	for i := range l.Inputs {
		l.Inputs[i].Path = make([]Level, s.notes)
	}
	l.Outputs = make([]Output, s.outputs)
	l.Registration = make([]Level, s.registry)
	l.Right = make([]Level, s.rights)
	l.Reading = make([]Level, s.readers)
	if s.held {
		l.Held = make([]Held, 1)
	}
	return l
}
