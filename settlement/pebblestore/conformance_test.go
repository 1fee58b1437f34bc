package pebblestore_test

import (
	"errors"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/pebblestore/pebbletest"
	"github.com/comity-ledger/comity/settlement/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Medium { return pebbletest.New() })
}

// onDisk is the same suite on the real file system, without crashes.
type onDisk struct{ *pebblestore.Opener }

func (onDisk) Exclusive() {}

func TestConformanceOnDisk(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Medium {
		opener, err := pebblestore.New(pebblestore.Config{Dir: t.TempDir() + "/ledger", PartitionSize: 64})
		if err != nil {
			t.Fatal(err)
		}
		return onDisk{opener}
	})
}

func TestCorruptRowsAreNamed(t *testing.T) {
	for _, key := range []string{"mhead", "mversion", "mgenesis"} {
		d := pebbletest.New()
		c := storetest.NewChain(1)
		s, err := d.Create(t.Context(), c.Genesis())
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		d.Set(t, key, []byte{1})
		if _, err := d.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, settlement.ErrStoreCorrupt) {
			t.Errorf("%s cut short: %v", key, err)
		}
	}
}
