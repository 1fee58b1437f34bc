package keystore

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// A journal is the file id (magic and 16 random bytes) followed by records: length u32, CRC-32C of file id, number and length, nonce,
// ciphertext. A length that was damaged is so told from one whose record was never finished. The additional data of each
// record is file id and record number, so that records cannot be reordered, dropped from the middle or brought in from another file.
// What is cut off at the end was never acknowledged; it is dropped on opening.
type journal struct {
	folder  *Folder
	file    *os.File
	id      []byte
	records [][]byte
	size    int64
	broken  bool // an append failed: what the file holds is only known after opening it again
}

const (
	journalMagic = "comjrnl1"
	journalHead  = len(journalMagic) + 16
	maxRecord    = 1 << 26
)

func (j *journal) additional(n int) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(j.id), uint64(n))
}

// frame encrypts record number n.
func (j *journal) frame(n int, record []byte) ([]byte, error) {
	if len(record) > maxRecord/2 {
		return nil, fmt.Errorf("a journal record of %d bytes", len(record))
	}
	sealed, err := j.folder.seal(record, j.additional(n))
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, frameHead+len(sealed)), uint32(len(sealed)))
	out = binary.BigEndian.AppendUint32(out, j.checksum(n, uint32(len(sealed))))
	return append(out, sealed...), nil
}

const frameHead = 8

func (j *journal) checksum(n int, size uint32) uint32 {
	return crc32.Checksum(binary.BigEndian.AppendUint32(j.additional(n), size), crc32.MakeTable(crc32.Castagnoli))
}

// newJournal writes a journal of these records beside the old one and puts it in its place.
func (f *Folder) newJournal(records [][]byte) (*journal, error) {
	j := &journal{folder: f, id: make([]byte, journalHead)}
	copy(j.id, journalMagic)
	if _, err := rand.Read(j.id[len(journalMagic):]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	all := bytes.Clone(j.id)
	for i, r := range records {
		framed, err := j.frame(i, r)
		if err != nil {
			return nil, err
		}
		all = append(all, framed...)
	}
	if err := f.replace(journalName, all); err != nil {
		return nil, err
	}
	return f.openJournal()
}

// openJournal reads the journal and cuts off what the last append did not finish.
func (f *Folder) openJournal() (*journal, error) {
	path := filepath.Join(f.dir, journalName)
	all, err := os.ReadFile(path)
	if err != nil {
		return nil, ErrCorrupt.with("read journal: %v", err)
	}
	if len(all) < journalHead || string(all[:len(journalMagic)]) != journalMagic {
		return nil, ErrCorrupt.with("the journal has no head")
	}
	j := &journal{folder: f, id: all[:journalHead:journalHead]}
	good := journalHead
	for rest := all[journalHead:]; len(rest) > 0; {
		n, err := j.frameSize(rest)
		if errors.Is(err, errTorn) {
			break
		}
		if err != nil {
			return nil, err
		}
		record, err := f.open(rest[frameHead:n], j.additional(len(j.records)))
		if err != nil {
			return nil, ErrCorrupt.with("journal record %d does not decrypt", len(j.records))
		}
		j.records = append(j.records, record)
		good += n
		rest = rest[n:]
	}
	if j.file, err = os.OpenFile(path, os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if good < len(all) {
		err := j.file.Truncate(int64(good))
		if err == nil {
			err = j.file.Sync()
		}
		if err != nil {
			j.file.Close()
			return nil, fmt.Errorf("cut the unfinished end off the journal: %w", err)
		}
	}
	j.size = int64(good)
	return j, nil
}

var errTorn = errors.New("unfinished")

// frameSize gives the length of the frame at the start of b. A frame that passes the end, and a tail of zeros (a file that grew before
// its data arrived), are unfinished appends. Anything else that does not fit is corruption and is never dropped in silence: the record
// could be of a payment that was sent.
func (j *journal) frameSize(b []byte) (int, error) {
	if len(bytes.Trim(b, "\x00")) == 0 || len(b) < frameHead {
		return 0, errTorn
	}
	n := binary.BigEndian.Uint32(b)
	if n > maxRecord || binary.BigEndian.Uint32(b[4:]) != j.checksum(len(j.records), n) {
		return 0, ErrCorrupt.with("journal record %d has a damaged length", len(j.records))
	}
	if len(b) < frameHead+int(n) {
		return 0, errTorn
	}
	return frameHead + int(n), nil
}

func (j *journal) append(record []byte) error {
	if j.broken {
		return errors.New("keystore: an append failed before; open the wallet again")
	}
	framed, err := j.frame(len(j.records), record)
	if err != nil {
		return err
	}
	j.broken = true
	if err := j.folder.at("append to journal"); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(framed, j.size); err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	if err := j.folder.at("sync journal"); err != nil {
		return err
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	j.broken = false
	j.size += int64(len(framed))
	j.records = append(j.records, bytes.Clone(record))
	return nil
}
