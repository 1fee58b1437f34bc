package keys

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/comity-ledger/comity/zk"
)

// MemoSizes are the sizes of a memo in bytes, by the class that a segment names. Sizes are few so that a length tells little.
var MemoSizes = [4]int{0, 32, 128, 512}

const (
	segmentHeader = 1 + 32             // class, ephemeral key
	viewTagSize   = 2                  // in front of each ciphertext
	noteSize      = 8 + 4 + 8 + 32 + 2 // value, asset, programme, rho, memo length
	aeadOverhead  = chacha20poly1305.Overhead
)

// Why a segment is refused or cannot be sealed.
var (
	ErrSegment   = errors.New("not a segment of payee ciphertexts")
	ErrMemoClass = errors.New("unknown memo class")
	ErrMemoSize  = errors.New("memo is longer than its class")
)

// SegmentSize is the length of a segment with that many outputs, or 0 for an unknown class (Z5.1).
func SegmentSize(class uint8, outputs int) int {
	if int(class) >= len(MemoSizes) || outputs < 0 {
		return 0
	}
	return segmentHeader + outputs*(viewTagSize+noteSize+MemoSizes[class]+aeadOverhead)
}

// SealOutput is one output to encrypt. The zero ViewKey makes a ciphertext that nobody opens and that looks like any other.
type SealOutput struct {
	To   ViewKey
	Note zk.Note
	Memo []byte
}

// Opened is an output that a view key opened and whose commitment it recomputed.
type Opened struct {
	Index int // of the output in its leg
	Note  zk.Note
	Memo  []byte
}

// SealSegment encrypts the outputs of a leg, in order, under one fresh X25519 key (Z5.2).
func SealSegment(rand io.Reader, class uint8, outs []SealOutput) ([]byte, error) {
	if int(class) >= len(MemoSizes) {
		return nil, fmt.Errorf("%w: %d", ErrMemoClass, class)
	}
	var secret [32]byte
	if _, err := io.ReadFull(rand, secret[:]); err != nil {
		return nil, fmt.Errorf("draw an ephemeral key: %w", err)
	}
	ephemeral, err := ecdh.X25519().NewPrivateKey(secret[:])
	if err != nil {
		return nil, fmt.Errorf("make an ephemeral key: %w", err)
	}
	epk := [32]byte(ephemeral.PublicKey().Bytes())
	out := make([]byte, 0, SegmentSize(class, len(outs)))
	out = append(out, class)
	out = append(out, epk[:]...)
	for i, o := range outs {
		if len(o.Memo) > MemoSizes[class] {
			return nil, fmt.Errorf("output %d: %w: %d bytes", i, ErrMemoSize, len(o.Memo))
		}
		if o.To == (ViewKey{}) {
			filler := make([]byte, viewTagSize+noteSize+MemoSizes[class]+aeadOverhead)
			if _, err := io.ReadFull(rand, filler); err != nil {
				return nil, fmt.Errorf("draw filler: %w", err)
			}
			out = append(out, filler...)
			continue
		}
		if !o.To.usable() {
			return nil, fmt.Errorf("output %d: %w", i, ErrAddressViewKey)
		}
		pub, err := ecdh.X25519().NewPublicKey(o.To[:])
		if err != nil {
			return nil, fmt.Errorf("output %d: %w", i, err)
		}
		shared, err := ephemeral.ECDH(pub)
		if err != nil {
			return nil, fmt.Errorf("output %d: %w", i, err)
		}
		ring, err := newKeyring(shared, epk, o.To)
		if err != nil {
			return nil, err
		}
		key, tag, err := ring.output(i)
		if err != nil {
			return nil, err
		}
		plain := make([]byte, noteSize+MemoSizes[class])
		binary.BigEndian.PutUint64(plain, uint64(o.Note.Value))
		binary.BigEndian.PutUint32(plain[8:], uint32(o.Note.Asset))
		binary.BigEndian.PutUint64(plain[12:], uint64(o.Note.Programme))
		copy(plain[20:], o.Note.Rho[:])
		binary.BigEndian.PutUint16(plain[52:], uint16(len(o.Memo)))
		copy(plain[54:], o.Memo)
		aead, err := chacha20poly1305.New(key)
		if err != nil {
			return nil, fmt.Errorf("make cipher: %w", err)
		}
		cm := o.Note.Commitment()
		out = append(out, tag[:]...)
		out = aead.Seal(out, make([]byte, chacha20poly1305.NonceSize), plain, cm[:])
	}
	return out, nil
}

// keyring derives the keys of a leg's outputs from one shared secret.
type keyring struct{ prk []byte }

func newKeyring(shared []byte, epk [32]byte, to ViewKey) (keyring, error) {
	salt := append(append(make([]byte, 0, 64), epk[:]...), to[:]...)
	prk, err := hkdf.Extract(sha256.New, shared, salt)
	if err != nil {
		return keyring{}, fmt.Errorf("derive payee keys: %w", err)
	}
	return keyring{prk}, nil
}

// output is the cipher key and the view tag of one output. A key is used once, so the nonce is zero (Z5.3).
func (k keyring) output(i int) (key []byte, tag [viewTagSize]byte, err error) {
	info := binary.BigEndian.AppendUint16([]byte("comity/payee/v1"), uint16(i))
	b, err := hkdf.Expand(sha256.New, k.prk, string(info), chacha20poly1305.KeySize+viewTagSize)
	if err != nil {
		return nil, tag, fmt.Errorf("derive payee key: %w", err)
	}
	return b[:chacha20poly1305.KeySize], [viewTagSize]byte(b[chacha20poly1305.KeySize:]), nil
}

// OpenSegment opens what of a leg is for this key, with one key agreement. Outputs of others are skipped by their view tag; an output
// that decrypts to something else than its commitment is ignored, because anybody can send one (Z5.5). ErrSegment for bytes that are
// no segment for that many commitments.
func (v IncomingView) OpenSegment(segment []byte, commitments []zk.Commitment) ([]Opened, error) {
	if len(segment) < segmentHeader || int(segment[0]) >= len(MemoSizes) || len(segment) != SegmentSize(segment[0], len(commitments)) {
		return nil, fmt.Errorf("%w: %d bytes for %d outputs", ErrSegment, len(segment), len(commitments))
	}
	memoSize := MemoSizes[segment[0]]
	pub, err := ecdh.X25519().NewPublicKey(segment[1:33])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSegment, err)
	}
	shared, err := v.key.ECDH(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSegment, err)
	}
	ring, err := newKeyring(shared, [32]byte(segment[1:33]), v.ViewKey())
	if err != nil {
		return nil, err
	}
	var opened []Opened
	rest := segment[segmentHeader:]
	for i, cm := range commitments {
		ct := rest[:viewTagSize+noteSize+memoSize+aeadOverhead]
		rest = rest[len(ct):]
		key, tag, err := ring.output(i)
		if err != nil {
			return nil, err
		}
		if [viewTagSize]byte(ct) != tag {
			continue
		}
		aead, err := chacha20poly1305.New(key)
		if err != nil {
			return nil, fmt.Errorf("make cipher: %w", err)
		}
		plain, err := aead.Open(nil, make([]byte, chacha20poly1305.NonceSize), ct[viewTagSize:], cm[:])
		if err != nil {
			continue
		}
		if o, ok := v.read(plain, memoSize, cm); ok {
			o.Index = i
			opened = append(opened, o)
		}
	}
	return opened, nil
}

// read decodes a plaintext and compares the note with its commitment.
func (v IncomingView) read(plain []byte, memoSize int, cm zk.Commitment) (o Opened, ok bool) {
	rho, err := zk.ParseRho(plain[20:52])
	length := int(binary.BigEndian.Uint16(plain[52:]))
	if err != nil || length > memoSize {
		return o, false
	}
	for _, b := range plain[noteSize+length:] {
		if b != 0 {
			return o, false
		}
	}
	o.Note = zk.Note{Value: zk.Amount(binary.BigEndian.Uint64(plain)), Asset: zk.AssetID(binary.BigEndian.Uint32(plain[8:])),
		Programme: zk.ProgrammeID(binary.BigEndian.Uint64(plain[12:])), Owner: v.own, Rho: rho}
	if length > 0 {
		o.Memo = plain[noteSize : noteSize+length]
	}
	return o, o.Note.Commitment() == cm
}

// OpenSegment opens what of a leg is for the wallet: see IncomingView.OpenSegment.
func (v FullView) OpenSegment(segment []byte, commitments []zk.Commitment) ([]Opened, error) {
	return v.incoming.OpenSegment(segment, commitments)
}
