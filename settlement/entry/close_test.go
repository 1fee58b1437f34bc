package entry

import (
	"strings"
	"testing"
)

func TestBusinessDatesAreDaysOfTheCalendar(t *testing.T) {
	for text, want := range map[string]BusinessDate{"2026-01-31": 20260131, "2028-02-29": 20280229, "1970-01-01": 19700101, "9999-12-31": 99991231} {
		d, err := ParseBusinessDate(text)
		if err != nil || d != want || d.String() != text {
			t.Errorf("%s: %d, %s, %v", text, uint32(d), d, err)
		}
	}
	for _, bad := range []string{"", "2026-02-29", "2026-1-31", "20260131", "2026-13-01", "1969-12-31", "2026-01-31 "} {
		_, err := ParseBusinessDate(bad)
		wantCode(t, err, DayDateInvalid)
	}
	for _, bad := range []BusinessDate{0, 1, 20260229, 20260100, 20261301, 20260132, 19691231, 100000101, 1<<32 - 1} {
		wantCode(t, bad.Validate(), DayDateInvalid)
	}
}

func TestCloseEntriesAreRefusedByName(t *testing.T) {
	all := entriesFixture(t)
	for _, c := range []struct {
		name, of string
		change   func(*Close)
		want     Code
	}{
		{"no day", "day opens", func(e *Close) { e.Date = 20260230 }, DayDateInvalid},
		{"action 0", "day opens", func(e *Close) { e.Action = 0 }, Malformed},
		{"action 4", "day opens", func(e *Close) { e.Action = 4 }, Malformed},
		{"opens over a size", "day opens", func(e *Close) { e.Size = 1 }, Malformed},
		{"opens over a root", "day opens", func(e *Close) { e.Root[0] = 1 }, Malformed},
		{"cuts off with a balance", "day cut-off", func(e *Close) { e.Balance[0] = 1 }, Malformed},
		{"closes over nothing", "day closes", func(e *Close) { e.Size = 0 }, Malformed},
		{"closes without a root", "day closes", func(e *Close) { e.Root = [32]byte{} }, Malformed},
		{"closes without a balance", "day closes", func(e *Close) { e.Balance = [32]byte{} }, Malformed},
		{"sequence 0", "day closes", func(e *Close) { e.Sequence = 0 }, SequenceStale},
	} {
		e := *all[c.of].(*Close)
		c.change(&e)
		wantCode(t, e.Validate(), c.want)
		if _, err := Decode(Encode(&e)); CodeOf(err) != c.want {
			t.Errorf("%s, %s: decoding gave %v, want %s", c.of, c.name, err, c.want)
		}
	}
}

func TestCloseIsDescribedForItsSigners(t *testing.T) {
	g, all := genesisFixture(t), entriesFixture(t)
	for name, want := range map[string][]string{
		"day opens":   {"Open business day 2026-01-31."},
		"day cut-off": {"Cut business day 2026-01-31 off"},
		"day closes":  {"Close business day 2026-01-31 over the first 4711 log entries", "log root ", "trial balance with SHA-256 ", "Policy sequence number 9"},
	} {
		text := strings.Join(Describe(all[name], g), "\n")
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q is missing in\n%s", name, w, text)
			}
		}
	}
	if p, err := NewProposal(g, Encode(all["day closes"]), nil); err != nil || p.Missing() != 0 || len(Keys(p.Entry())) != 0 || len(Needs(p.Entry())) != 0 {
		t.Errorf("a close as a proposal: %v", err)
	}
}
