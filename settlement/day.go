package settlement

import "github.com/comity-ledger/comity/settlement/entry"

// Day is the business day as the last close entry left it (L11.1). The zero
// value: no day was ever opened.
type Day struct {
	Date   entry.BusinessDate
	Action entry.CloseAction // what happened last to the day of that date
	// Size, Root and Balance are what the day closes over, as its cut-off fixed
	// them: the log at the end of the block before the cut-off, and the hash of
	// the trial balance there. Zero while it is open.
	Size    uint64
	Root    [32]byte
	Balance [32]byte
}

// Day returns the business day.
func (s *State) Day() Day { return s.day }

// check holds L11.1 and L11.3.
func (d *Day) check(e *entry.Close) error {
	switch {
	case e.Action == entry.DayOpens && (d.Action == entry.DayOpens || d.Action == entry.DayCutOff):
		return entry.Refuse(entry.DayOpenAlready, "business day %s is not closed", d.Date)
	case e.Action == entry.DayOpens && e.Date <= d.Date:
		return entry.Refuse(entry.DayDateInvalid, "business day %s, the last was %s", e.Date, d.Date)
	case e.Action == entry.DayOpens:
		return nil
	case d.Action != entry.DayOpens && d.Action != entry.DayCutOff:
		return entry.Refuse(entry.DayNotOpen, "no business day is open")
	case e.Date != d.Date:
		return entry.Refuse(entry.DayDateInvalid, "business day %s, the open one is %s", e.Date, d.Date)
	case e.Action == entry.DayCutOff && d.Action == entry.DayCutOff:
		return entry.Refuse(entry.DayCutOffAlready, "business day %s", d.Date)
	case e.Action == entry.DayCutOff:
		return nil
	case d.Action != entry.DayCutOff:
		return entry.Refuse(entry.DayNotCutOff, "business day %s", d.Date)
	case e.Size != d.Size || e.Root != d.Root:
		return entry.Refuse(entry.TrialBalanceDiffers, "the close is over %d entries with root %x, the cut-off left %d with root %x", e.Size, e.Root, d.Size, d.Root)
	case e.Balance != d.Balance:
		return entry.Refuse(entry.TrialBalanceDiffers, "trial balance %x, at %d entries it is %x", e.Balance, d.Size, d.Balance)
	}
	return nil
}

// closeDay applies a close entry to the draft. A cut-off closes over the block
// before it (L11.2): what its own block holds is of the next day, whatever the
// order within the block.
func (d *draft) closeDay(e *entry.Close) error {
	if err := d.next.day.check(e); err != nil {
		return err
	}
	switch e.Action {
	case entry.DayOpens:
		d.next.day = Day{Date: e.Date}
	case entry.DayCutOff:
		b := d.from.TrialBalance()
		d.next.day.Size, d.next.day.Root, d.next.day.Balance = b.Size, b.Root, b.Hash()
	}
	d.next.day.Action = e.Action
	return nil
}
