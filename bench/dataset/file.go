package dataset

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Keep writes what a benchmark made beforehand to a file: under a temporary name, which is then changed, so that a program that is stopped
// leaves no half of one.
func Keep(path string, v any) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<20)
	if err := gob.NewEncoder(buffered).Encode(v); err != nil {
		return err
	}
	if err := errors.Join(buffered.Flush(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// Recall reads what Keep wrote into v, a pointer.
func Recall(path string, v any) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := gob.NewDecoder(bufio.NewReaderSize(f, 1<<20)).Decode(v); err != nil {
		return fmt.Errorf("read the data set: %w", err)
	}
	return nil
}

// Obtain loads the data set in a file, or makes a new one when there is none that holds what spec asks for. Seed and clock of spec are not
// looked at.
func Obtain(ctx context.Context, path string, spec Spec, tell func(format string, args ...any)) (*Set, error) {
	set, err := Load(path)
	if err == nil {
		if set.holds(spec) {
			return set, nil
		}
		tell("the data set is too small for this run: making a larger one")
	} else if !errors.Is(err, os.ErrNotExist) {
		tell("%v: making a new one", err)
	}
	spec.NowMillis = uint64(time.Now().UnixMilli())
	if _, err := io.ReadFull(rand.Reader, spec.Seed[:]); err != nil {
		return nil, err
	}
	last, said := "", time.Time{}
	set, err = Make(ctx, spec, func(stage string, done, total int) {
		if stage != last || time.Since(said) > 5*time.Second {
			tell("%s %d/%d", stage, done, total)
			last, said = stage, time.Now()
		}
	})
	if err != nil {
		return nil, fmt.Errorf("make the data set: %w", err)
	}
	return set, set.Save(path)
}

// holds tells whether a set has all that spec asks for, and is far from its expiry.
func (s *Set) holds(spec Spec) bool {
	count := map[Class]int{}
	for i := range s.Items {
		count[s.Items[i].Class]++
	}
	return count[HonestTransfer] >= spec.HonestTransfers && count[HonestDisburse] >= spec.HonestDisburses &&
		count[SimulatedTransfer] >= spec.SimulatedTransfers && count[SimulatedDisburse] >= spec.SimulatedDisburses
}
