package sim

import "github.com/comity-ledger/comity/settlement"

// Medium makes the model store's medium, for simulations of more than one
// ledger.
func Medium() Disk { return &memDisk{} }

// Injector is a store that fails on demand: the fault that is armed happens at
// the next append or look-up, once.
type Injector struct{ *faulty }

// Inject puts faults between a node and a store of a Medium. fired hears of
// every fault; rival acquires the ledger as another node would; keep says how
// many entries of a block of that many a torn write leaves.
func Inject(disk Disk, store settlement.Store, fired func(Fault), rival func(), keep func(entries int) int) *Injector {
	f := &faulty{Store: store, fired: fired, rival: rival}
	if d, ok := disk.(*memDisk); ok {
		f.tear = func(b *settlement.Block) { d.tear(b, keep(len(b.Entries))) }
	}
	return &Injector{f}
}

// Arm chooses what goes wrong next.
func (i *Injector) Arm(f Fault) { i.armed = &f }

// Disarm ends it.
func (i *Injector) Disarm() { i.armed = nil }

// Faults is the number of faults there are.
const Faults = numFaults

// Crashed tells whether an error of a step means that the process is gone.
func Crashed(err error) bool { return isCrash(err) }

// Violation makes an error that IsViolation knows.
func Violation(format string, args ...any) error { return wrong(format, args...) }
