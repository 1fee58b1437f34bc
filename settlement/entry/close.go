package entry

import "time"

// CloseAction is what a close entry does to the business day.
type CloseAction uint8

// The actions of a close entry, in the order in which they follow each other.
const (
	DayOpens  CloseAction = 1
	DayCutOff CloseAction = 2 // fixes the block that the day closes over
	DayCloses CloseAction = 3
)

// String gives the verb.
func (a CloseAction) String() string {
	switch a {
	case DayOpens:
		return "opens"
	case DayCutOff:
		return "cuts off"
	case DayCloses:
		return "closes"
	}
	return "unknown"
}

// BusinessDate is a day of the calendar, as the number yyyymmdd.
type BusinessDate uint32

// ParseBusinessDate reads yyyy-mm-dd.
func ParseBusinessDate(s string) (BusinessDate, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return 0, Refuse(DayDateInvalid, "business date %q: want yyyy-mm-dd", s)
	}
	d := BusinessDate(t.Year()*10000 + int(t.Month())*100 + t.Day())
	return d, d.Validate()
}

// String gives yyyy-mm-dd.
func (d BusinessDate) String() string { return d.time().Format(time.DateOnly) }

func (d BusinessDate) time() time.Time {
	return time.Date(int(d/10000), time.Month(d/100%100), int(d%100), 0, 0, 0, 0, time.UTC)
}

// Validate refuses a number that is no day between 1970 and 9999.
func (d BusinessDate) Validate() error {
	t := d.time()
	if t.Year() < 1970 || t.Year() > 9999 || BusinessDate(t.Year()*10000+int(t.Month())*100+t.Day()) != d {
		return Refuse(DayDateInvalid, "business date %d is no day yyyymmdd of the calendar", uint32(d))
	}
	return nil
}

// Close opens a business day, cuts it off, or closes it over the block before its cut-off.
type Close struct {
	Header
	Date   BusinessDate
	Action CloseAction
	// Size, Root and Balance say what is closed over: the log's size and root at the end of the block before the cut-off, and the
	// hash of the trial balance there. All zero unless Action is DayCloses.
	Size    uint64
	Root    [32]byte
	Balance [32]byte
}

// Kind returns KindClose.
func (*Close) Kind() Kind { return KindClose }

// AppendEffecting appends E.
func (e *Close) AppendEffecting(dst []byte) []byte {
	dst = append(put32(e.appendHeader(dst, KindClose), uint32(e.Date)), byte(e.Action))
	return append(append(put64(dst, e.Size), e.Root[:]...), e.Balance[:]...)
}

func (e *Close) readBody(r *reader) {
	e.Date, e.Action = BusinessDate(r.u32()), CloseAction(r.u8())
	e.Size, e.Root, e.Balance = r.u64(), r.bytes32(), r.bytes32()
}

// Validate checks the date and that the fields fit the action. Whether the day is in that state is for the ledger to say.
func (e *Close) Validate() error {
	if err := e.validateHeader(); err != nil {
		return err
	}
	if err := e.Date.Validate(); err != nil {
		return err
	}
	zero := [32]byte{}
	switch {
	case e.Action < DayOpens || e.Action > DayCloses:
		return Refuse(Malformed, "action %d of a close entry", e.Action)
	case e.Action == DayCloses && (e.Size == 0 || e.Root == zero || e.Balance == zero):
		return Refuse(Malformed, "a close that does not say what it closes over")
	case e.Action != DayCloses && (e.Size != 0 || e.Root != zero || e.Balance != zero):
		return Refuse(Malformed, "an entry that %s a day closes over nothing", e.Action)
	}
	return nil
}

func describeClose(line func(string, ...any), e *Close) {
	switch e.Action {
	case DayOpens:
		line("Open business day %s.", e.Date)
	case DayCutOff:
		line("Cut business day %s off: what is logged from this block on belongs to the next business day. Payments go on.", e.Date)
	default:
		line("Close business day %s over the first %d log entries. Payments go on.", e.Date, e.Size)
		line("  log root %x", e.Root)
		line("  trial balance with SHA-256 %x: compute it from your own copy of the log (comity ledger balance) and compare", e.Balance)
	}
}
